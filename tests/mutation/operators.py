"""The changes that make mutants: of conditions, calls, constants, collections, regular expressions and statements.

Texts for people are left alone: docstrings, f-strings, and what is logged or raised.
"""

import ast
import copy
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

LONGEST_SHOWN = 90
CONTEXT = 12  # characters before and after what differs
COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}
ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
}
SWAPPED = {
    "any": "all",
    "all": "any",
    "min": "max",
    "max": "min",
    "startswith": "endswith",
    "endswith": "startswith",
    "partition": "rpartition",
    "rpartition": "partition",
    "fullmatch": "match",
    "search": "match",
    "match": "search",
    "union": "intersection",
}
# What may stand for its only argument, or for the object that it is a method of.
TRANSPARENT = frozenset({"sorted", "reversed", "list", "tuple", "set", "frozenset", "quote", "unquote", "abs", "int", "float"})
TRANSPARENT |= {"intern", "shield", "strip", "lower", "upper", "removeprefix", "removesuffix", "rstrip", "splitlines"}
REGEX_CALLS = frozenset({"compile", "fullmatch", "match", "search", "sub", "split", "findall"})
TOKEN = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\((?:\?(?:[:=!]|<[=!]))?|[*+?]|\{\{?\d+(?:,\d*)?\}\}?|[a-z]+|.", re.DOTALL)
ITEM = re.compile(r"\\.|[^\\](?:-[^\]\\])?", re.DOTALL)


@dataclass(frozen=True)
class Change:
    """A change of a syntax tree. `lines` are those of the statement."""

    node: ast.AST
    field: str
    index: int | None
    new: object
    lines: range
    text: str

    def apply(self) -> None:
        """Change the tree, for good."""
        if self.index is None:
            setattr(self.node, self.field, self.new)
        elif self.new is None:
            del getattr(self.node, self.field)[self.index]
        else:
            getattr(self.node, self.field)[self.index] = self.new


def changes(tree: ast.Module) -> Iterator[Change]:
    """Yield every change of `tree`, each with a text of its own on its line."""
    seen: Counter[tuple[int, str]] = Counter()
    for node, field, index, old, new, lines in _places(tree):
        text = _difference(_shown(old), _shown(new))
        seen[lines.start, text] += 1
        if (number := seen[lines.start, text]) > 1:
            text += f" ({number})"
        yield Change(node, field, index, new, lines, text)


def _shown(node: object) -> str:
    if node is None or isinstance(node, dict):
        return "nothing"
    return " ".join((ast.unparse(node) if isinstance(node, ast.AST) else str(node)).split())


def _difference(old: str, new: str) -> str:
    """Return both texts, of long ones only what differs."""
    if max(len(old), len(new)) > LONGEST_SHOWN and new not in {"nothing", "pass"}:
        start = _common(old, new)
        end = _common(old[start:][::-1], new[start:][::-1])
        old, new = (f"...{one[max(start - CONTEXT, 0) : len(one) - max(end - CONTEXT, 0)]}..." for one in (old, new))
    return f"{old[:LONGEST_SHOWN]} -> {new[:LONGEST_SHOWN]}"


def _common(one: str, other: str) -> int:
    """Return how many letters two texts begin with alike."""
    shorter = min(len(one), len(other))
    return next((at for at in range(shorter) if one[at] != other[at]), shorter)


Place = tuple[ast.AST, str, int | None, object, object, range]


def _places(tree: ast.Module) -> Iterator[Place]:  # noqa: C901
    """Yield the parent, field and index of each replacement, the old and the new node, and the lines of the statement."""
    stack: list[tuple[ast.AST, range, bool]] = [(tree, range(1, 2), False)]
    while stack:
        node, lines, is_text = stack.pop()
        children: list[tuple[ast.AST, range, bool]] = []
        for field, value in ast.iter_fields(node):
            if field in {"annotation", "returns", "ctx"} or (field == "decorator_list"):
                continue
            several = isinstance(value, list)
            for index, child in enumerate(value if several else [value]):
                if not isinstance(child, ast.AST):
                    continue
                here = _header(child) if isinstance(child, ast.stmt) else lines
                text = is_text or _is_text(child)
                for new in _replacements(child, node, field, is_text=text):
                    yield node, field, index if several else None, child, new, here
                children.append((child, here, text))
        if isinstance(node, ast.Set | ast.Tuple | ast.List | ast.Dict) and isinstance(
            getattr(node, "ctx", ast.Load()), ast.Load
        ):
            yield from _shorter(node, lines)
        if isinstance(node, ast.Call):
            for index, keyword in enumerate(node.keywords):
                if keyword.arg:
                    yield node, "keywords", index, keyword, None, lines
            if _name(node.func) in REGEX_CALLS and len(node.args) > 1 and isinstance(node.args[-1], ast.Attribute | ast.BinOp):
                yield node, "args", len(node.args) - 1, node.args[-1], None, lines
        stack += reversed(children)


def _shorter(node: ast.Set | ast.Tuple | ast.List | ast.Dict, lines: range) -> Iterator[Place]:
    """Leave out each element of a collection."""
    if isinstance(node, ast.Dict):
        for index, key in enumerate(node.keys):
            pairs = [pair for at, pair in enumerate(zip(node.keys, node.values, strict=True)) if at != index]
            shorter = ast.Dict([one for one, _ in pairs], [one for _, one in pairs])
            # The keys and the values at once: both fields are replaced by those of another node.
            yield node, "__dict__", None, key or node.values[index], {**node.__dict__, **shorter.__dict__}, lines
        return
    for index, element in enumerate(node.elts):
        yield node, "elts", index, element, None, lines


def _header(statement: ast.stmt) -> range:
    """Return the lines of a statement, without those of its body."""
    body = getattr(statement, "body", None)
    last = body[0].lineno - 1 if body else statement.end_lineno or statement.lineno
    return range(statement.lineno, max(last, statement.lineno) + 1)


def _is_text(node: ast.AST) -> bool:
    """Return whether the strings below `node` are for people."""
    if isinstance(node, ast.Raise | ast.JoinedStr):
        return not (isinstance(node, ast.JoinedStr) and _looks_like_regex(node))
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return True
    func = node.func if isinstance(node, ast.Call) else None
    return isinstance(func, ast.Attribute) and isinstance(func.value, ast.Name) and func.value.id == "logger"


def _looks_like_regex(node: ast.JoinedStr) -> bool:
    return any(
        isinstance(part, ast.Constant) and re.search(r"\(\?|\[\^|\)\*|\[[a-z0-9.+]", str(part.value)) for part in node.values
    )


def _name(func: ast.expr) -> str:
    return func.attr if isinstance(func, ast.Attribute) else func.id if isinstance(func, ast.Name) else ""


def _replacements(node: ast.AST, parent: ast.AST, field: str, *, is_text: bool) -> Iterator[object]:  # noqa: C901, PLR0912
    """Yield what may stand in the place of `node`."""
    match node:
        case ast.Compare(ops=ops):
            for index, op in enumerate(ops):
                if other := COMPARISONS.get(type(op)):
                    changed = copy.copy(node)
                    changed.ops = [*ops[:index], other(), *ops[index + 1 :]]
                    yield changed
        case ast.BoolOp(op=op, values=values):
            yield ast.BoolOp(ast.Or() if isinstance(op, ast.And) else ast.And(), values)
            for index in range(len(values)):
                rest = [*values[:index], *values[index + 1 :]]
                yield ast.BoolOp(op, rest) if len(rest) > 1 else rest[0]
        case ast.UnaryOp(op=ast.Not() | ast.USub(), operand=operand):
            yield operand
        case ast.BinOp() if type(node.op) in ARITHMETIC:
            yield ast.BinOp(node.left, ARITHMETIC[type(node.op)](), node.right)
        case ast.IfExp():
            yield node.body
            yield node.orelse
        case ast.Constant(value=value):
            yield from (ast.Constant(new) for new in _constants(value, parent, is_text=is_text))
        case ast.Call():
            yield from _calls(node)
        case ast.Slice():
            for bound in ("lower", "upper", "step"):
                if getattr(node, bound):
                    changed_slice = copy.copy(node)
                    setattr(changed_slice, bound, None)
                    yield changed_slice
        case ast.Return(value=value) if value and not (isinstance(value, ast.Constant) and value.value is None):
            yield ast.Return(None)
        case (
            ast.Expr(value=ast.Call() | ast.Await())
            | ast.AugAssign()
            | ast.Raise()
            | ast.Continue()
            | ast.Break()
            | ast.Delete()
        ):
            yield ast.Pass()
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]):
            yield ast.Pass()
        case ast.FormattedValue(conversion=conversion) if conversion == ord("r") and not is_text:
            yield ast.FormattedValue(node.value, -1, node.format_spec)
    is_condition = field in {"test", "ifs"} and not isinstance(node, ast.BoolOp | ast.Constant)
    if is_condition and not isinstance(parent, ast.Assert):
        if not isinstance(parent, ast.While):
            yield ast.Constant(value=True)
        yield ast.Constant(value=False)


def _calls(node: ast.Call) -> Iterator[ast.expr]:
    name = _name(node.func)
    if name in SWAPPED and not (name in REGEX_CALLS and isinstance(node.func, ast.Attribute) and _name(node.func.value) == ""):
        func = copy.copy(node.func)
        setattr(func, "attr" if isinstance(func, ast.Attribute) else "id", SWAPPED[name])
        yield ast.Call(func, node.args, node.keywords)
    if name in TRANSPARENT:
        if isinstance(node.func, ast.Attribute) and _name(node.func.value) not in {"sys", "asyncio"}:
            yield node.func.value
        elif node.args:
            yield node.args[0]


def _constants(value: object, parent: ast.AST, *, is_text: bool) -> Iterator[bool | float | str | bytes]:
    match value:
        case bool():
            yield not value
        case int() | float():
            yield value + 1
        case str() if not is_text:
            is_regex = isinstance(parent, ast.Call) and _name(parent.func) in REGEX_CALLS
            if isinstance(parent, ast.JoinedStr) or is_regex or re.search(r"\[[a-zA-Z0-9.+]+-|\(\?:", value):
                yield from _patterns(value)
            elif value:
                yield ""
                yield f"{value}X"
            else:
                yield "X"
        case bytes():
            yield value + b"X"


def _patterns(pattern: str) -> Iterator[str]:
    """Yield regular expressions that lack a part of `pattern`, or have another quantifier."""
    seen = {pattern}
    for found in TOKEN.finditer(pattern):
        token, before, after = found[0], pattern[: found.start()], pattern[found.end() :]
        others = [""]
        if token in {"*", "+"}:
            others = ["+" if token == "*" else "*", ""]
        elif token.startswith("[") and len(token) > 2:
            start = 2 if token[1] == "^" else 1
            items = [item[0] for item in ITEM.finditer(token[start:-1])]
            kept = ("".join(items[:at] + items[at + 1 :]) for at in sorted({0, len(items) - 1}))  # the first and the last
            others += [f"{token[:start]}{rest}]" for rest in kept if rest]
            others += [f"[{token[2:]}"] if start == 2 else []
        elif numbers := re.fullmatch(r"(\{\{?)(\d+)(,?)(\d*)(\}\}?)", token):
            least, most = int(numbers[2]), numbers[4]
            others = [f"{numbers[1]}{least + 1}{numbers[3]}{most}{numbers[5]}"]
            others += [f"{numbers[1]}{least}{numbers[3]}{int(most) + 1}{numbers[5]}"] if most else []
        elif token.startswith("(") and len(token) > 2:  # a look-ahead: the opposite; (?: cannot go alone
            others = [token.replace("=", "!") if "=" in token else token.replace("!", "=")] if ":" not in token else []
        elif token in {"(", ")"}:
            others = []
        elif len(token) > 1 and token.isalpha():  # a word
            others = [token[1:]]
        for other in others:
            if (changed := f"{before}{other}{after}") not in seen:
                seen.add(changed)
                yield changed
