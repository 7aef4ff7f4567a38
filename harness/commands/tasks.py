"""Every task with its role, contexts, example prompts and answers, guess rate and generation speed. Examples:

rl-scaling tasks show='[addition.*, store.symbolic]'
rl-scaling tasks imports='[my_package]' show='[mine.*]'
rl-scaling tasks page=docs/reference/tasks.md success=docs/reference/success    # in short
"""

from harness.cli import app


@app("tasks")
def main(config) -> None:
    import importlib
    import json
    from pathlib import Path

    from envs.catalogue import overview, page
    from envs.registry import UnknownTask, select
    from harness.core.errors import UserError

    try:
        for module in config.imports:
            importlib.import_module(module)
        files = sorted(Path(config.success).glob("*.json")) if config.success else []
        if config.success and not files:
            raise UserError(f"success={config.success}", "no measurement lies there", "run scripts/success.py")
        success = {file.stem: json.loads(file.read_text()) for file in files}
        text = "" if config.page else page(select(config.show))
        if success or config.page:
            text += overview(success)
    except UnknownTask as error:
        raise UserError(str(error)) from None
    except ModuleNotFoundError as error:
        raise UserError(f"imports: {error}", fix="install it, or add its folder to PYTHONPATH") from None
    if config.page is None:
        print(text)
    else:
        Path(config.page).write_text(text)
        print(f"{config.page}: {len(text.splitlines())} lines")
