"""Find, list and compose the configuration files; only the edge of the program calls this.

Hydra decides which files take part and in which order. The files hold what differs from the
constructors, and the constructors judge what comes out.
"""

from __future__ import annotations

import difflib
import glob
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from graphium.errors import GraphiumError, suggest
from graphium.overrides import Setting, apply, merge, parse

GROUPS: tuple[str, ...] = ("data", "model", "features", "optim", "trainer", "finetune", "experiment")
SECTIONS: tuple[str, ...] = ("features", "data", "model", "optim", "trainer", "finetune")
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
    "data.n_jobs",
    "data.split",
    "data.repeats",
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
# Where a known data set stands in a mix, in the words of a defaults list.
DATASET_OPTION = "/dataset@datasets."


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
    return _options(group, _config_folders(config_dir))


def suggest_data(name: str, mixes: Iterable[str], datasets: Iterable[str]) -> str:
    """Return the end of an error sentence: the nearest mixes and data sets, and where all of them are listed.

    >>> suggest_data("qm8", ["toymix"], ["qm9", "drugs"])
    "did you mean 'qm9'? Mixes: toymix; for the data sets, graphium data list"
    """
    mixes = sorted(mixes)
    near = difflib.get_close_matches(name.lower(), sorted({*mixes, *datasets}), n=3)
    listing = (f"mixes: {', '.join(mixes)}; " if mixes else "") + "for the data sets, graphium data list"
    return f"did you mean {' or '.join(map(repr, near))}? {listing[0].upper()}{listing[1:]}" if near else listing


def opening_comment(file: Path) -> list[str]:
    """Return the lines of the comment that opens a configuration file, without Hydra's own."""
    lines: list[str] = []
    for line in file.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        if not line.startswith("# @package"):
            lines.append(line.lstrip("# ").strip())
    return lines


def compose(overrides: Sequence[str] = (), config_dir: Path | str | None = None) -> dict[str, Any]:
    """Compose a run's configuration as a plain dictionary; :func:`compose_run` also tells the messages.

    >>> compose(["model=gcn", "model.width=64"])["model"]["width"]
    64
    """
    return compose_run(overrides, config_dir).config


def compose_run(overrides: Sequence[str] = (), config_dir: Path | str | None = None) -> Composition:
    """Compose the configuration of a run.

    Args:
        overrides: words such as ``data=toymix``, ``data=path/to/mine.yaml``, ``model.width=96``;
            ``data=qm9``, the name of a known data set, is that data set alone.
        config_dir: a folder with the user's own files, laid out in groups like the shipped one.

    Returns:
        The configuration as plain values, the choices, and a sentence for each part that was replaced.

    Raises:
        GraphiumError: a word that cannot be read, an unknown group option or top-level key, a broken file.
    """
    folders = _config_folders(config_dir)
    for word in overrides:
        if word in _options("data", folders) or word in _options("dataset", folders):
            raise GraphiumError(f"{word!r} is not a setting; write data={word}")
    settings = parse(overrides)
    groups = _all_groups(folders)
    chosen = [s for s in settings if _chooses(s, groups)]
    if any(s.path[0] == "finetune" and len(s.path) > 1 for s in settings):
        # Its settings alone ask for it; an experiment may have chosen how.
        said = {s.key for s in chosen}
        chosen += [] if said & {"finetune", "experiment"} else parse(["finetune=full"])
    values = [s for s in settings if s not in chosen]
    for setting in values:
        _check_top(setting.path[0], setting.text)
    with _made_files(chosen, folders) as (made, files):
        folders.append(made)
        words = [_hydra_word(s, files, folders) for s in chosen]
        config, choices = _merge_files(words, folders)
    for key in config:
        _check_top(key, key)
    if "data" in files:
        _find_beside(config.get("data"), files["data"].parent)
    messages = apply(config, values)
    choices.update({group: path.stem for group, path in files.items()})
    if config.get("name") is None:
        tuned = choices.get("finetune")
        named = (choices.get("data"), choices.get("model"), tuned and f"finetune_{tuned}")
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


def _config_folders(config_dir: Path | str | None) -> list[Path]:
    """The shipped folder, then the user's own."""
    shipped = configs_dir()
    if config_dir is None:
        return [shipped]
    folder = Path(config_dir).expanduser()
    if not folder.is_dir():
        raise GraphiumError(f"the configuration folder {str(folder)!r} does not exist; check --config-dir")
    folder = folder.resolve()
    for file in sorted(folder.rglob("*.yaml")):
        if folder != shipped and (shipped / file.relative_to(folder)).is_file():
            raise GraphiumError(f"{file} has the name of a file that graphium ships; give it another name")
    return [shipped, folder]


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
        near = suggest(setting.value, choices)
        if group in ("data", "dataset"):
            datasets = _options("dataset", folders)
            near = suggest_data(setting.value, set(choices) - set(datasets), datasets)
        if group == "finetune":
            near += f"; the model is named beside it, finetune.from={setting.value}"
        file = f"; or give the path of a file, {group}=path/to/mine.yaml" if setting.package is None else ""
        raise GraphiumError(f"unknown {group} {setting.value!r}; {near}{file}")
    prefix, at = ("+", f"@{setting.package}") if setting.package is not None else ("", "")
    return f"{prefix}{group}{at}={setting.value}"


@contextmanager
def _made_files(chosen: Sequence[Setting], folders: Sequence[Path]) -> Iterator[tuple[Path, dict[str, Path]]]:
    """Lay out a folder of groups for Hydra: files given by their path, and each known data set as a mix of one.

    Where a mix has the name of a data set, the name means the mix.
    """
    files = {s.key: _given_file(s) for s in chosen if s.package is None and _looks_like_path(s.value)}
    with tempfile.TemporaryDirectory(prefix="graphium-config-") as folder:
        mixes = _options("data", folders)
        copies = {group: Path(folder) / group / f"{_FILE_OPTION}.yaml" for group in files}
        try:
            (Path(folder) / "data").mkdir()
            for name in _options("dataset", folders):
                if name not in mixes:
                    alone = f"defaults:\n  - {DATASET_OPTION}{name}: {name}\n"
                    (Path(folder) / "data" / f"{name}.yaml").write_text(alone, encoding="utf-8")
            for group, path in files.items():
                copies[group].parent.mkdir(exist_ok=True)
                copies[group].write_bytes(path.read_bytes())
        except OSError as error:
            raise GraphiumError(
                f"the configuration cannot be composed in {folder} ({error.strerror or error}); make room there, "
                "or name another folder for temporary files with TMPDIR"
            ) from None
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
        for part in (one, one.get("split"), one.get("long")) if isinstance(one, Mapping) else ():
            if isinstance(part, dict) and "path" in part:
                part["path"] = _beside(part["path"], folder)


def _beside(path: Any, folder: Path) -> Any:
    if isinstance(path, list):
        return [_beside(one, folder) for one in path]
    if not isinstance(path, str) or Path(path).is_absolute():
        return path
    is_there = (folder / path).is_file() or (glob.has_magic(path) and glob.glob(path, root_dir=folder))
    return str((folder / path).absolute()) if is_there else path


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
