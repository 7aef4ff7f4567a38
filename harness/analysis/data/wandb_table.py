"""A run table out of a W&B project: the artifact that harness/tracking/publish.py logged there, downloaded."""

from pathlib import Path
from typing import Any

from harness.analysis.data.table_checks import TableError

PREFIX = "wandb:"
ARTIFACT = "study"  # the type of artifact that holds a study's tables; its name is the study's
TIMEOUT = 30  # seconds for each answer of the server
_HOW = "`python scripts/study.py study=NAME report=true tracker=wandb` (then `wandb sync`, if offline)"
SOURCE_FORM = "wandb:ENTITY/PROJECT, or wandb:ENTITY/PROJECT/STUDY where the project holds several studies"


def local_path(source: str, out: str | Path) -> Path:
    """The path of a source: itself, or for `wandb:…` a folder under `out` into which its tables were downloaded.

    Raises TableError: not logged in, unreachable, or nothing there.
    """
    if not source.startswith(PREFIX):
        return Path(source)
    import wandb  # here: an analysis of local tables needs neither the second that it takes nor a network

    parts = source.removeprefix(PREFIX).split("/")
    if len(parts) not in (2, 3) or not all(parts):
        raise TableError(source, "names no project", f"write {SOURCE_FORM}")
    if not wandb.login(prompt=False):
        raise TableError(source, "not logged in to W&B", "run `wandb login`, or set WANDB_API_KEY")
    try:
        return _download(wandb.Api(timeout=TIMEOUT), parts, Path(out) / "from_wandb", source)
    except (wandb.Error, OSError, ValueError) as error:
        fix = "check the name and the connection; a study's own folder (table=outputs/studies/NAME) needs neither"
        raise TableError(source, f"W&B gave no table ({type(error).__name__}: {error})", fix) from error


def _download(client: Any, parts: list[str], out: Path, source: str) -> Path:
    project = "/".join(parts[:2])
    names = [parts[2]] if len(parts) == 3 else sorted(c.name for c in client.artifact_collections(project, ARTIFACT))
    if not names:
        raise TableError(source, "the project holds no study", f"log one with {_HOW}")
    if len(names) > 1:
        raise TableError(source, f"the project holds {len(names)} studies", f"choose: {source}/({'|'.join(names)})")
    (study,) = names
    artifact = client.artifact(f"{project}/{study}:latest", type=ARTIFACT)
    folder = Path(artifact.download(root=str(out.joinpath(*parts[:2], study))))
    if not (folder / "table.parquet").is_file():
        raise TableError(source, f"artifact {study} holds no table.parquet", f"was it logged by {_HOW}?")
    return folder
