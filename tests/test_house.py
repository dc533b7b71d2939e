"""The house: public names, their docstrings, the sizes of modules and folders."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

import pops

ROOT = Path(__file__).parent.parent
DOCUMENTED = ("pops", "benchmarks")  # folders whose public names have sections
FOLDERS = ("pops", "benchmarks", "scripts", "data_generation", "examples", "tests")
PROSE = (*FOLDERS, "comfyui", "docs", "spaces")
LARGEST_MODULE = 350  # lines
# Modules beside each other: of the folders with a limit of their own, and of all others.
LARGEST_FOLDER = {"pops": 8, "benchmarks": 16}
MODULES_OF_A_FOLDER = 12

# Modules that are still longer than the limit. The list only shrinks.
LONG = frozenset(
    {
        "pops/engine.py",
    }
)

# Names that two classes have. The list only shrinks.
SHARED = frozenset(
    {
        "Background",
        "Batch",
        "Call",
        "Clip",
        "ClothesConfig",
        "Example",
        "Judge",
        "Recipe",
    }
)

ARGUMENT = re.compile(r"^    \*{0,2}(\w+)(?: \([^)]*\))?:", re.MULTILINE)

Function = ast.FunctionDef | ast.AsyncFunctionDef
Definition = Function | ast.ClassDef


@dataclass(frozen=True)
class Module:
    """One module, read but not imported."""

    name: str
    path: Path
    tree: ast.Module

    @property
    def unit(self) -> str:
        """The package that is checked as one: a folder, or a part of `pops`."""
        parts = self.name.split(".")
        if parts[0] != "pops":
            return parts[0]
        return ".".join(parts[: 3 if parts[1:2] == ["pocket"] else 2])

    @property
    def exported(self) -> frozenset[str] | None:
        """The names in `__all__`; None where the module has none."""
        for node in self.tree.body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
                return frozenset(ast.literal_eval(node.value))
        return None

    @property
    def defined(self) -> frozenset[str]:
        """The names that exist at the top level once the module is imported."""
        return frozenset(_names(self.tree.body))


def _names(body: list[ast.stmt]) -> Iterator[str]:
    for node in body:
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield name
            case ast.ClassDef(name=name):
                yield name
            case ast.Import(names=names) | ast.ImportFrom(names=names):
                yield from (alias.asname or alias.name for alias in names)
            case ast.Assign() | ast.AnnAssign():
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                for target in targets:
                    yield from (n.id for n in ast.walk(target) if isinstance(n, ast.Name))
            case ast.If() | ast.Try():
                yield from _names(
                    [s for s in ast.iter_child_nodes(node) if isinstance(s, ast.stmt)]
                )


@cache
def modules(folder: str = "pops") -> tuple[Module, ...]:
    """Every module below a folder of the project."""
    found = []
    for path in sorted((ROOT / folder).rglob("*.py")):
        place = path.relative_to(ROOT)
        if "assets" in place.parts or "weights" in place.parts:
            continue
        name = ".".join(place.with_suffix("").parts).removesuffix(".__init__")
        found.append(Module(name, place, ast.parse(path.read_text(encoding="utf-8"))))
    return tuple(found)


def public(module: Module) -> Iterator[tuple[str, Definition, bool]]:
    """Every exported function and class, and the public methods of those classes.

    Yields:
        The full name, the definition, and whether its first argument is the object itself.
    """
    exported = module.exported or frozenset()
    for node in module.tree.body:
        if isinstance(node, Definition) and node.name in exported:
            yield f"{module.name}.{node.name}", node, False
            for member in node.body if isinstance(node, ast.ClassDef) else ():
                if isinstance(member, Function) and not member.name.startswith("_"):
                    own = "staticmethod" not in decorators(member)
                    yield f"{module.name}.{node.name}.{member.name}", member, own


def decorators(function: Function) -> set[str]:
    """The last part of the name of every decorator."""
    return {re.split(r"\W", ast.unparse(d).split("(")[0])[-1] for d in function.decorator_list}


def section(docstring: str, title: str) -> str | None:
    """The body of a section of a Google-style docstring; None where it has none."""
    found = re.search(rf"^{title}:\n((?:[ ]{{4}}.*(?:\n|\Z)|\n)+)", docstring, re.MULTILINE)
    return found[1] if found else None


def arguments(function: Function, own: bool) -> list[str]:
    """The names of the arguments, without the object itself and without stars."""
    a = function.args
    named = [x.arg for x in (*a.posonlyargs, *a.args, *a.kwonlyargs)]
    starred = [x.arg for x in (a.vararg, a.kwarg) if x is not None]
    return [*named[own:], *starred]


def raised(function: Function) -> set[str]:
    """The classes of the errors that the function itself raises by name."""
    found = set()
    waiting: list[ast.AST] = list(function.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, (*Function.__args__, ast.ClassDef, ast.Lambda)):
            continue
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            name = ast.unparse(node.exc.func).split(".")[0]
            found |= {name} if name.endswith("Error") else set()
        waiting += ast.iter_child_nodes(node)
    return found


def gives(function: Function) -> str | None:
    """The section that tells what comes back, or None where nothing does."""
    if decorators(function) & {"property", "cached_property", "setter"}:
        return None
    result = ast.unparse(function.returns) if function.returns else "None"
    if result in ("None", "NoReturn", "Never"):
        return None
    return "Yields" if result.split("[")[0] in ("Iterator", "Generator") else "Returns"


def faults(name: str, node: Definition, own: bool) -> Iterator[str]:
    """Everything that the docstring of a public name lacks."""
    docstring = ast.get_docstring(node)
    if not docstring:
        yield f"{name} has no docstring"
        return
    if isinstance(node, ast.ClassDef):
        return
    if wanted := arguments(node, own):
        told = re.findall(
            r"^    \*{0,2}(\w+)(?: \([^)]*\))?:", section(docstring, "Args") or "", re.M
        )
        if missing := [argument for argument in wanted if argument not in told]:
            yield f"{name}: Args does not tell of {', '.join(missing)}"
        if unknown := [argument for argument in told if argument not in wanted]:
            yield f"{name}: Args tells of {', '.join(unknown)}, which it does not take"
    title = gives(node)
    if title and not (section(docstring, "Returns") or section(docstring, "Yields")):
        yield f"{name} has no section {title}"
    told_errors = section(docstring, "Raises") or ""
    for error in sorted(raised(node)):
        if not re.search(rf"^    {error}:", told_errors, re.MULTILINE):
            yield f"{name}: Raises does not tell of {error}"


@pytest.mark.parametrize(
    "unit", sorted({module.unit for folder in DOCUMENTED for module in modules(folder)})
)
def test_public_names_tell_what_they_take_give_and_raise(unit: str) -> None:
    found = [
        fault
        for folder in DOCUMENTED
        for module in modules(folder)
        if module.unit == unit
        for name, node, own in public(module)
        for fault in faults(name, node, own)
    ]
    assert not found, "\n".join(found)


def test_every_module_says_what_is_public_and_all_of_it_exists() -> None:
    for module in (module for folder in DOCUMENTED for module in modules(folder)):
        if module.path.name in ("__init__.py", "__main__.py") and not module.exported:
            continue
        assert module.exported is not None, f"{module.path} has no __all__"
        assert (module.exported or frozenset()) <= module.defined, module.path


def test_what_a_package_takes_from_another_is_public_there() -> None:
    homes = {module.name: module for module in modules()}
    for user in (module for folder in FOLDERS if folder != "tests" for module in modules(folder)):
        for node in ast.walk(user.tree):
            if not isinstance(node, ast.ImportFrom) or node.module not in homes:
                continue
            home = homes[node.module]
            if home.name == "pops" or home.unit == user.unit:
                continue
            for alias in node.names:
                is_public = alias.name in (home.exported or ())
                is_module = f"{home.name}.{alias.name}" in homes
                assert is_public or is_module, f"{user.path}: {home.name}.{alias.name}"


def test_every_error_is_imported_from_pops_itself() -> None:
    classes = [node for node in _module("pops.errors").tree.body if isinstance(node, ast.ClassDef)]
    assert {node.name for node in classes} <= (_module("pops").exported or frozenset())


def test_every_public_name_of_pops_has_its_home() -> None:
    assert {*pops._HOMES, "__version__"} == set(pops.__all__)
    for name, home in pops._HOMES.items():
        assert name in (_module(home).exported or ()), f"{home} does not export {name}"


def _module(name: str) -> Module:
    return next(module for module in modules() if module.name == name)


def test_a_name_stands_for_one_class() -> None:
    counts = Counter(
        node.name
        for module in modules()
        for node in module.tree.body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    )
    assert {name for name, count in counts.items() if count > 1} == SHARED


def test_what_is_imported_is_there() -> None:
    homes = {module.name: module for module in modules()}
    for user in (module for folder in FOLDERS for module in modules(folder)):
        for node in ast.walk(user.tree):
            if not isinstance(node, ast.ImportFrom) or (node.module or "").split(".")[0] != "pops":
                continue
            assert node.module in homes, f"{user.path}: there is no {node.module}"
            known = homes[node.module].defined
            for alias in node.names:
                there = alias.name in known or f"{node.module}.{alias.name}" in homes
                assert there or "__getattr__" in known, f"{user.path}: {node.module}.{alias.name}"


def test_text_files_are_read_and_written_in_utf_8() -> None:
    """Windows has another encoding where none is named."""
    for module in modules():
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                named = {keyword.arg for keyword in node.keywords}
                text = node.func.attr in ("read_text", "write_text")
                assert not text or "encoding" in named, f"{module.path}:{node.lineno}"


def test_only_tests_import_tests() -> None:
    for module in (module for folder in FOLDERS if folder != "tests" for module in modules(folder)):
        for node in ast.walk(module.tree):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not [name for name in names if name.split(".")[0] == "tests"], module.path


def test_every_module_says_what_it_is() -> None:
    for module in (module for folder in FOLDERS if folder != "tests" for module in modules(folder)):
        empty = not module.tree.body
        assert empty or ast.get_docstring(module.tree), f"{module.path} has no docstring"


def test_every_package_lists_its_modules() -> None:
    for package in modules():
        if package.path.name != "__init__.py" or package.unit == "pops":
            continue
        if package.name == "pops.pocket":  # its parts are checked as packages of their own
            continue
        told = ast.get_docstring(package.tree) or ""
        for module in modules():
            parent, _, name = module.name.rpartition(".")
            if parent == package.name and name != "__main__":
                assert re.search(rf"\b{name}\b", told), f"{package.path} does not list {name}"


@pytest.mark.parametrize("folder", PROSE)
def test_no_docstring_begins_without_its_subject(folder: str) -> None:
    pattern = re.compile(r"(What|Of|Those|Whose|That which)\b")
    found = [
        f"{module.path}: {docstring.splitlines()[0]}"
        for module in modules(folder)
        for node in ast.walk(module.tree)
        if isinstance(node, Definition | ast.Module) and (docstring := ast.get_docstring(node))
        if pattern.match(docstring)
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("folder", [folder for folder in PROSE if folder != "tests"])
def test_the_docstring_of_a_function_is_a_sentence_that_begins_with_its_verb(folder: str) -> None:
    no_verb = re.compile(
        r"[a-z(`\d]|(The|A|An|Each|Every|All|Both|One|Some|Its|This|These|Which|Whether|How|Where|"
        r"When|If|For|In|As|By|From|To|With|No|None|Nobody|Another)\b"
    )
    found = []
    for module in modules(folder):
        for node in ast.walk(module.tree):
            if not isinstance(node, Function) or decorators(node) & {"property", "cached_property"}:
                continue
            first = (ast.get_docstring(node) or "Do.").split("\n\n")[0]
            if no_verb.match(first) or not first.endswith((".", ":", "?")):
                found.append(f"{module.path}:{node.lineno}: {first}")
    assert not found, "\n".join(found)


def test_modules_are_short() -> None:
    for folder in ("pops", "scripts", "data_generation"):
        for module in modules(folder):
            lines = len((ROOT / module.path).read_text(encoding="utf-8").splitlines())
            if module.path.as_posix() not in LONG:
                assert lines <= LARGEST_MODULE, f"{module.path} has {lines} lines"


@pytest.mark.parametrize("root", PROSE)
def test_folders_hold_few_modules(root: str) -> None:
    counts = Counter(
        module.path.parent.as_posix()
        for module in modules(root)
        if module.path.name != "__init__.py"
    )
    for folder, count in counts.items():
        most = LARGEST_FOLDER.get(folder, MODULES_OF_A_FOLDER)
        assert count <= most, f"{folder} holds {count} modules beside each other"
