"""Find, list and compose the configuration files; only the edge of the program calls this.

Hydra decides which files take part and in which order. The files hold what differs from the
constructors, and the constructors judge what comes out.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from graphium.errors import GraphiumError, suggest
from graphium.overrides import Setting, apply, merge, parse

GROUPS: tuple[str, ...] = ("data", "model", "features", "optim", "trainer", "experiment")
SECTIONS: tuple[str, ...] = ("features", "data", "model", "optim", "trainer")
SCALARS: tuple[str, ...] = ("seed", "name", "data_dir", "store_dir", "run_dir", "ckpt_path")
_FOLDERS: tuple[str, ...] = SCALARS[2:]

# Settings that people look for at the top level.
_USUAL: tuple[str, ...] = (
    "data.path",
    "data.targets",
    "data.smiles",
    "data.level",
    "data.kind",
    "data.limit",
    "data.batch_size",
    "model.width",
    "model.depth",
    "model.budget",
    "optim.lr",
    "trainer.max_epochs",
)
_ROOT = "train"
# Name under which a file given by its path (`data=my/mix.yaml`) takes part in the composition.
_FILE_OPTION = "given_by_path"


@dataclass(frozen=True)
class Composition:
    """A composed configuration, the option chosen in each group, and what the user should be told."""

    config: dict[str, Any]
    choices: dict[str, str | None] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)


def configs_dir() -> Path:
    """Return the folder of the shipped configuration files.

    It lies inside an installed package, and beside the package in a source tree.
    """
    package = Path(__file__).resolve().parent
    for folder in (package / "configs", package.parent / "configs"):
        if (folder / f"{_ROOT}.yaml").is_file():
            return folder
    raise GraphiumError(f"the configuration files are missing beside {package}; install graphium again")


def cache_dir() -> Path:
    """Return the folder for downloads and prepared stores: ``$GRAPHIUM_CACHE`` or ``~/.cache/graphium``."""
    return Path(os.environ.get("GRAPHIUM_CACHE") or "~/.cache/graphium").expanduser()


def options(group: str, config_dir: Path | str | None = None) -> dict[str, Path]:
    """Return name -> file of the options of a group, of the shipped files and of the user's own folder."""
    return _options(group, [configs_dir(), *([Path(config_dir)] if config_dir else [])])


def compose(overrides: Sequence[str] = (), config_dir: Path | str | None = None) -> dict[str, Any]:
    """Compose a run's configuration as a plain dictionary; :func:`compose_run` also tells the messages.

    >>> compose(["model=gcn", "model.width=64"])["model"]["width"]
    64
    """
    return compose_run(overrides, config_dir).config


def compose_run(overrides: Sequence[str] = (), config_dir: Path | str | None = None) -> Composition:
    """Compose the configuration of a run.

    Args:
        overrides: words such as ``data=toymix``, ``data=path/to/mine.yaml``, ``model.width=96``.
        config_dir: a folder with the user's own files, laid out in groups like the shipped one.

    Returns:
        The configuration as plain values, the choices, and a sentence for each part that was replaced.

    Raises:
        GraphiumError: a word that cannot be read, an unknown group option or top-level key, a broken file.
    """
    settings = parse(overrides)
    folders = [configs_dir()]
    if config_dir is not None:
        folders.append(_user_folder(Path(config_dir), folders[0]))
    groups = _all_groups(folders)
    chosen = [s for s in settings if _chooses(s, groups)]
    values = [s for s in settings if s not in chosen]
    for setting in values:
        _check_top(setting.path[0], setting.text)
    with _given_files(chosen) as (given, files):
        if given is not None:
            folders.append(given)
        words = [_hydra_word(s, files, folders) for s in chosen]
        config, choices = _merge_files(words, folders)
    for key in config:
        _check_top(key, key)
    if "data" in files:
        _find_beside(config.get("data"), files["data"].parent)
    messages = apply(config, values)
    choices.update({group: path.stem for group, path in files.items()})
    if config.get("name") is None:
        named = (choices.get("data"), choices.get("model"))
        config["name"] = choices.get("experiment") or "_".join(filter(None, named)) or "run"
    resolved = _resolve(config)
    resolved["name"] = str(resolved["name"])
    for key in _FOLDERS:
        # An empty value, as in `run_dir=`, is none.
        resolved[key] = str(Path(str(resolved[key])).expanduser()) if resolved.get(key) else None
    return Composition(resolved, choices, messages)


def _options(group: str, folders: Sequence[Path]) -> dict[str, Path]:
    return {file.stem: file for folder in folders for file in sorted((folder / group).glob("*.yaml"))}


def _all_groups(folders: Sequence[Path]) -> set[str]:
    return {entry.name for folder in folders for entry in folder.iterdir() if entry.is_dir()}


def _user_folder(folder: Path, shipped: Path) -> Path:
    if not folder.is_dir():
        raise GraphiumError(f"the configuration folder {str(folder)!r} does not exist; check --config-dir")
    folder = folder.resolve()
    for file in sorted(folder.rglob("*.yaml")):
        if folder != shipped and (shipped / file.relative_to(folder)).is_file():
            raise GraphiumError(f"{file} has the name of a file that graphium ships; give it another name")
    return folder


def _chooses(setting: Setting, groups: set[str]) -> bool:
    """Whether a word chooses a file of a group (``model=gcn``) rather than setting a value."""
    if setting.package is not None or "/" in setting.key:
        return True
    return setting.key in groups and (setting.value is None or isinstance(setting.value, str) or setting.delete)


def _check_top(key: str, text: str) -> None:
    known = (*SECTIONS, *SCALARS, "experiment")
    if key not in known:
        for usual in _USUAL:
            if usual.endswith(f".{key}"):
                raise GraphiumError(f"unknown key {key!r} in {text!r}; write {usual}{text.removeprefix(key)}")
        shown = f"unknown key {key!r}" + (f" in {text!r}" if text != key else "")
        raise GraphiumError(f"{shown}; {suggest(key, known)}")


def _hydra_word(setting: Setting, files: Mapping[str, Path], folders: Sequence[Path]) -> str:
    """Spell a checked choice for Hydra."""
    group = setting.key
    if setting.package is None and group not in GROUPS:
        raise GraphiumError(
            f"{setting.text}: {group!r} is not chosen for a whole run; choose one of {', '.join(GROUPS)}, "
            f"or place it, e.g. '+{group}@data.datasets.NAME={setting.value}'"
        )
    if setting.delete:
        return setting.text
    if group in files:
        return f"{group}={_FILE_OPTION}"
    if setting.value is None:
        return f"~{group}"
    choices = _options(group, folders)
    if setting.value not in choices:
        if group == "data" and Path(setting.value).suffix:
            raise GraphiumError(
                f"{setting.text} names no data set; for a table write data=table data.path={setting.value}"
            )
        file = f"; or give the path of a file, {group}=path/to/mine.yaml" if setting.package is None else ""
        raise GraphiumError(f"unknown {group} {setting.value!r}; {suggest(setting.value, choices)}{file}")
    prefix, at = ("+", f"@{setting.package}") if setting.package is not None else ("", "")
    return f"{prefix}{group}{at}={setting.value}"


@contextmanager
def _given_files(chosen: Sequence[Setting]) -> Iterator[tuple[Path | None, dict[str, Path]]]:
    """Lay files that were given by path into a folder of groups where Hydra finds them."""
    files = {s.key: _given_file(s) for s in chosen if s.package is None and _looks_like_path(s.value)}
    if not files:
        yield None, files
        return
    with tempfile.TemporaryDirectory(prefix="graphium-config-") as folder:
        copies = {group: Path(folder) / group / f"{_FILE_OPTION}.yaml" for group in files}
        for group, path in files.items():
            copies[group].parent.mkdir()
            copies[group].write_bytes(path.read_bytes())
        try:
            yield Path(folder), files
        except GraphiumError as error:
            sentence = str(error)
            for group, path in files.items():
                sentence = sentence.replace(str(copies[group]), str(path)).replace(f"{group}/{_FILE_OPTION}", str(path))
            raise GraphiumError(sentence) from None


def _looks_like_path(value: Any) -> bool:
    return isinstance(value, str) and (value.endswith((".yaml", ".yml")) or "/" in value or Path(value).is_file())


def _given_file(setting: Setting) -> Path:
    path = Path(setting.value).expanduser()
    if path.suffix not in (".yaml", ".yml"):
        table = f"; for a table write data=table data.path={setting.value}" if setting.key == "data" else ""
        raise GraphiumError(f"{setting.text} is neither an option nor a .yaml file; give one of these{table}")
    if not path.is_file():
        raise GraphiumError(f"there is no file {setting.value!r} for {setting.key}; check the path")
    return path


def _merge_files(words: Sequence[str], folders: Sequence[Path]) -> tuple[dict[str, Any], dict[str, str | None]]:
    """Merge the files that Hydra's defaults lists name, in Hydra's order, by the rule of :func:`merge`.

    Hydra's own merge would keep the arguments of a part that a later file replaces.
    """
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import HydraException
    from hydra.types import RunMode
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    main, *others = folders
    search = ",".join('"' + f"file://{folder}".replace('"', '\\"') + '"' for folder in others)
    try:
        with initialize_config_dir(str(main), job_name="graphium", version_base="1.3"):
            loader = GlobalHydra.instance().config_loader()
            plan = loader.compute_defaults_list(_ROOT, [*words, f"hydra.searchpath=[{search}]"], RunMode.RUN)
        config: dict[str, Any] = {}
        for default in plan.defaults:
            if default.config_path is not None and not default.config_path.startswith("hydra/"):
                package = [word for word in (default.package or "").split(".") if word]
                merge(config, _nest(package, _body(default.config_path, folders)))
    except (HydraException, OmegaConfBaseException, YAMLError, AssertionError) as error:
        raise GraphiumError(f"the configuration files cannot be composed: {_one_line(error)}; mend the file") from None
    return config, dict(plan.overrides.known_choices)


def _body(config_path: str, folders: Sequence[Path]) -> dict[str, Any]:
    from omegaconf import DictConfig, OmegaConf

    file = next(path for folder in folders if (path := folder / f"{config_path}.yaml").is_file())
    loaded = OmegaConf.load(file)
    if not isinstance(loaded, DictConfig):
        raise GraphiumError(f"{file} holds a list; give it keys and values")
    body = OmegaConf.to_container(loaded, resolve=False)
    assert isinstance(body, dict)
    body.pop("defaults", None)
    return {str(key): value for key, value in body.items()}


def _nest(package: Sequence[str], body: dict[str, Any]) -> dict[str, Any]:
    for word in reversed(package):
        body = {word: body}
    return body


def _find_beside(data: Any, folder: Path) -> None:
    """Let the relative paths of a user's own file mean what lies beside that file, where there is such."""
    if not isinstance(data, Mapping):
        return
    datasets = data.get("datasets")
    for one in (data, *(datasets.values() if isinstance(datasets, Mapping) else ())):
        for part in (one, one.get("split")) if isinstance(one, Mapping) else ():
            path = part.get("path") if isinstance(part, dict) else None
            if isinstance(part, dict) and isinstance(path, str) and (folder / path).is_file():
                part["path"] = str((folder / path).absolute())


def _resolve(config: dict[str, Any]) -> dict[str, Any]:
    """Replace ``${...}`` by what it points at; the result is plain values."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        plain = OmegaConf.to_container(OmegaConf.create(config), resolve=True)
    except OmegaConfBaseException as error:
        raise GraphiumError(f"the configuration cannot be resolved: {_one_line(error)}; mend the value") from None
    assert isinstance(plain, dict)
    sections = {key: {} if plain.get(key) is None else plain[key] for key in SECTIONS}
    for key, value in sections.items():
        if not isinstance(value, dict):
            raise GraphiumError(f"{key} is {value!r}; choose an option, {key}=NAME, or set {key}.SETTING=VALUE")
    return {**{key: plain[key] for key in SCALARS if key in plain}, **sections}


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()).rstrip(".")
