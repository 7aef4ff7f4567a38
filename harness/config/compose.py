"""Composing by Hydra: within a folder of the user's, many times at the price of one, and what is wrong with an override
that Hydra cannot apply.

Hydra takes a fifth of a second for a composition; where many differ in values alone, as the arms of a study do, it
composes once and the values are set.
"""

import copy
from argparse import Namespace
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from hydra import compose
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path, get_args_parser
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, OverrideParseException
from hydra.version import setbase
from omegaconf import DictConfig, OmegaConf

from harness.config.hints import unknown_setting_error
from harness.core.dotted import flatten
from harness.core.errors import UserError, nearest


def plain(container: DictConfig) -> dict[str, Any]:
    """A composed Hydra configuration as plain, resolved Python."""
    return cast(dict[str, Any], OmegaConf.to_container(container, resolve=True))


class Composer:
    """Within an initialised Hydra: composer(overrides) is the plain, resolved container that Hydra's compose gives."""

    def __init__(self, config_name: str):
        self._name = config_name
        self._composed: dict[tuple[str, ...], DictConfig] = {}
        self._groups = set(GlobalHydra.instance().config_loader().list_groups(""))

    def __call__(self, overrides: Sequence[str]) -> dict[str, Any]:
        """Raises UserError for an override that Hydra cannot apply, and for one that it would apply to no effect."""
        parsed = parse_overrides(overrides)
        for each in parsed:
            _refuse_empty_mapping(each)
        values = [each for each in parsed if self._is_value(each)]
        shape = tuple(text for text, each in zip(overrides, parsed) if each not in values)
        if shape not in self._composed:
            self._composed[shape] = self._compose(shape, overrides)
        config = copy.deepcopy(self._composed[shape])
        for each in values:
            if OmegaConf.select(config, each.key_or_group, default=config) is config:  # Hydra's own error is needed
                return plain(self._compose(overrides, overrides))
            OmegaConf.update(config, each.key_or_group, each.value())
        return plain(config)

    def _compose(self, overrides: Sequence[str], given: Sequence[str]) -> DictConfig:
        try:
            return compose(self._name, list(overrides))
        except HydraException as error:
            raise explain(error, self._name, given) from None

    def _is_value(self, override: Override) -> bool:
        """Whether it gives a value to a key that is there already: no choice of a group, nothing added or deleted."""
        changes = override.is_add() or override.is_force_add() or override.is_delete() or override.is_sweep_override()
        return not (changes or override.package or override.key_or_group in self._groups)


def _refuse_empty_mapping(override: Override) -> None:
    """Hydra merges mappings, so that `study.arms={}` would leave all arms where they are."""
    if override.value() == {} and not (override.is_add() or override.is_force_add() or override.is_delete()):
        raise UserError(
            f"{override.key_or_group}={{}}",
            "mappings are merged, so an empty one changes nothing",
            f"remove entries one by one: ~{override.key_or_group}.NAME",
        )


@contextmanager
def hydra_with(config_module: str, folder: str | None) -> Generator[None]:
    """Within it Hydra composes from the package `config_module` and, with --config-dir, from a folder beside it."""
    setbase("1.3")
    GlobalHydra.instance().clear()
    path = create_config_search_path(f"pkg://{config_module}")
    if folder is not None:
        own = f"file://{Path(folder).absolute()}"
        path.prepend("command-line", own, SearchPathQuery(provider="schema", path=None))  # as hydra.main does
    Hydra.create_main_hydra2("app", path)
    try:
        yield
    finally:
        GlobalHydra.instance().clear()


def explain(error: HydraException, config_name: str, texts: Sequence[str]) -> UserError:
    """The UserError for the override that Hydra refused; Hydra's own message where each of them is right by itself.
    Within an initialised Hydra, which stays as it is, as all below."""
    try:
        _refuse_interval(parse_overrides(texts))
        known, groups = known_settings(config_name, texts)
        _check_settings(parse_overrides(texts), known, groups)
    except UserError as found:
        return found
    except HydraException:
        pass  # composing the choices alone fails too: then the first error is the one to report
    return UserError(str(error))


def known_settings(config_name: str, texts: Sequence[str]) -> tuple[list[str], list[str]]:
    """(dotted names of all settings, groups of choices), with the choices among the overrides made, nothing else.

    Raises UserError for an override that cannot be read and for a choice that does not exist.
    """
    loader = GlobalHydra.instance().config_loader()
    choices = [override for override in parse_overrides(texts) if loader.get_group_options(override.key_or_group)]
    for choice in choices:
        _check_choice(choice, loader.get_group_options(choice.key_or_group))
    single = [choice.input_line or "" for choice in choices if not choice.is_sweep_override()]
    settings: Any = OmegaConf.to_container(compose(config_name, overrides=single), resolve=False)
    return list(flatten(settings)), loader.list_groups("")


def parse_overrides(texts: Sequence[str]) -> list[Override]:
    """The overrides, parsed. Raises UserError for the first that cannot be read."""
    parser, overrides = OverridesParser.create(), []
    for text in texts:
        try:
            overrides += parser.parse_overrides([text])
        except OverrideParseException:
            fix = "write key=value, in quotes if there are brackets, spaces or commas: 'rl.steps=64'"
            inner = "\n  a value with = in it goes in quotes of its own: '+study.arms.other=[\"algo=grpo\"]'"
            raise UserError(text, "cannot be read as a setting", fix + inner * (text.count("=") > 1)) from None
    return overrides


def _parsed(arguments: Sequence[str]) -> Namespace:
    """A script's arguments as Hydra parses them."""
    return get_args_parser().parse_known_intermixed_args(list(arguments))[0]


def flags_and_overrides(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """(Hydra's own flags among a script's arguments, with their values; the overrides). Between overrides Hydra refuses
    its flags."""
    overrides = _parsed(arguments).overrides
    return [text for text in arguments if text not in overrides], overrides


def refuse_run_dir(texts: Sequence[str]) -> None:
    """Raises UserError for a folder of Hydra's: it would be made and stay empty."""
    for text in texts:
        if text.startswith("hydra.run.dir="):
            raise UserError(
                text,
                "run folders are named by the harness, under one output folder",
                f"set out={text.partition('=')[2]}",
            )


def _refuse_interval(overrides: Sequence[Override]) -> None:
    """Raises UserError for an interval that no sweeper chooses from."""
    if any(override.key_or_group == "hydra/sweeper" for override in overrides):
        return
    for override in overrides:
        if override.is_interval_sweep():
            raise UserError(
                override.input_line or "",
                "only a sweeper that optimises chooses values in an interval; Hydra's own takes lists",
                f"list values: -m {override.key_or_group}=1e-4,2e-4\n  or pip install -e '.[sweep]' and add: "
                "-m hydra/sweeper=optuna evaluation.split=validation",
            )


def config_folder_among(arguments: Sequence[str]) -> str | None:
    """The folder that --config-dir names among a script's arguments. Raises UserError where there is no such folder."""
    found = _parsed(arguments).config_dir
    if found is not None and not Path(found).is_dir():
        fix = "it is a folder of your own, with groups such as study/ in it (docs/how-to/own-studies.md)"
        raise UserError(f"--config-dir {found}", "there is no such folder", fix)
    return found


def _check_choice(override: Override, options: Sequence[str]) -> None:
    if override.is_delete():
        return
    values = override.sweep_string_iterator() if override.is_sweep_override() else [str(override.value())]
    for option in values:
        if option not in options:
            raise _unknown_choice(override.key_or_group, option, options)


def _check_settings(overrides: Sequence[Override], known: Iterable[str], groups: Sequence[str]) -> None:
    names = {*known, *groups}
    branches = {name[:end] for name in names for end, letter in enumerate(name) if letter == "."}
    for override in overrides:
        key = override.key_or_group
        added = override.is_add() or override.is_force_add()
        if not (added or key in names | branches or key.split("/")[0].split(".")[0] == "hydra"):
            raise unknown_setting_error(key, names)


def _unknown_choice(group: str, option: str, options: Sequence[str]) -> UserError:
    near = nearest(option, options)
    meant = f"did you mean {' or '.join(near)}? " if near else ""
    return UserError(f"{group}={option}", "there is no such choice", f"{meant}There are: {', '.join(sorted(options))}")
