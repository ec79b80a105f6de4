"""One training step of script_gpt_refactored.py, recorded to the last scalar while it runs.

    trace = record(tokens, state_dict, optimizer, learning_rate, config, tokenizer)

calls the program's own `train_step` and watches it through `sys.settrace`, as a debugger would. Nothing is computed a
second time. What a trace knows, it has from the program:

- a number is a Value the program made: its inputs, its slopes, its gradient are the Value's own;
- its name is the variable it was put into, with the loops around that line (`layer0.head2.`), and what its indices
  count is read from the shape comment on the line, or on the return of the function that the line calls:
  `attn_weights = ...  # [position + 1]` gives `layer0.head2.attn_weights[3 'm' -> 1 'e']`;
- its line is where the frame stood when the Value was born, its explanation the comments and docstrings there;
- Adam's numbers are no Values, so for each parameter the operands of each line of the update are noted as it runs.

Names. A number that no variable holds is named for the variable its line is computing, and, behind a tilde, for the
function that gave it: `layer0.x.2~linear[3 'm'][5]` is what `linear` gave in the line of `layer0.x.2`, before it was
added; `~mul` or `~add` is plain arithmetic. A variable that its function assigns more than once carries the number of
the assignment: in gpt_forward `x.1` is the norm of the embeddings, `layer0.x.2` the stream after attention,
`layer0.x.3` after the MLP. A list that grows is named as a whole, and each new part also for the loop it was made in:
`layer0.attn_out[3 'm'][9]` is also called `layer0.head2.attn_out[3 'm'][1]`. Variables of a helper stand under the
variable that its caller was computing: `layer0.normed.scale[0 BOS]` was `scale` in rmsnorm, at the line of the layer
that assigns `normed`. Where two numbers would have one name, as when a line calls a helper twice, the second has `#2`
behind it.
"""
from __future__ import annotations

import ast
import dataclasses
import io
import math
import os
import random
import re
import sys
import tokenize
from dataclasses import dataclass, field
from typing import Iterator, Optional, Sequence

import script_gpt_refactored as gpt

# ======================================================================================================================
# The source: functions, statements, comments
# ======================================================================================================================


@dataclass(frozen=True)
class Statement:
    """One statement of a function, as far as naming needs to know it."""

    line: int  # the first of its lines
    last_line: int  # for a loop, the last line of its head
    targets: tuple[str, ...]  # the variables it assigns or changes: x = ..., attn_out += ..., losses.append(...)
    loops: tuple[str, ...]  # the loop variables around it, outermost first
    dims: tuple[str, ...]  # from its shape comment: ("position + 1", "head_dim")
    node: ast.stmt = field(compare=False, repr=False)


@dataclass(frozen=True)
class Function:
    """A function of the source. `assignments` lists, for each variable, the statements that assign it."""

    name: str  # with its class: "Value.__add__"
    first_line: int
    last_line: int
    parameters: tuple[str, ...]
    docstring: str  # or what its class says of it
    docstring_lines: range
    makes_values: bool  # it calls Value(...) itself: an operation
    statements: dict[int, Statement] = field(compare=False, repr=False)  # by each of its lines
    assignments: dict[str, list[Statement]] = field(compare=False, repr=False)

    @property
    def has_model(self) -> bool:
        """Whether it is given the weights: then its variables are the model's, else it is a helper of a line."""
        return "state_dict" in self.parameters


class Source:
    """What a trace needs to know of a Python file: its lines, comments and functions."""

    def __init__(self, path: str) -> None:
        self.path = path
        with open(path, encoding="utf-8") as file:
            text = file.read()
        self.lines = text.splitlines()
        tokens = tokenize.generate_tokens(io.StringIO(text).readline)
        self.comments = {token.start[0]: token.string.lstrip("# ")
                         for token in tokens if token.type == tokenize.COMMENT}
        self.functions = {function.first_line: function for function in self._functions(ast.parse(text), "", {})}

    def _functions(self, parent: ast.AST, prefix: str, said: dict[str, str]) -> Iterator[Function]:
        for node in ast.iter_child_nodes(parent):
            if isinstance(node, ast.ClassDef):
                yield from self._functions(node, f"{node.name}.", _said_of_operators(ast.get_docstring(node) or ""))
            elif isinstance(node, ast.FunctionDef):
                yield from self._functions(node, f"{prefix}{node.name}.", {})
                statements = {}
                assignments = {}
                for statement in self._statements(node.body, ()):
                    for line in range(statement.line, statement.last_line + 1):
                        statements[line] = statement
                    if isinstance(statement.node, (ast.Assign, ast.AnnAssign)):
                        for variable in statement.targets:
                            assignments.setdefault(variable, []).append(statement)
                own = ast.get_docstring(node)
                calls = [call.func for call in ast.walk(node) if isinstance(call, ast.Call)]
                yield Function(
                    name=prefix + node.name,
                    # a frame counts from the first decorator
                    first_line=min([node.lineno] + [decorator.lineno for decorator in node.decorator_list]),
                    last_line=node.end_lineno,
                    parameters=tuple(argument.arg for argument in node.args.args),
                    docstring=own or said.get(node.name, ""),
                    docstring_lines=range(node.body[0].lineno, node.body[0].end_lineno + 1) if own else range(0),
                    makes_values=any(isinstance(name, ast.Name) and name.id == "Value" for name in calls),
                    statements=statements,
                    assignments=assignments,
                )

    def _statements(self, body: Sequence[ast.stmt], loops: tuple[str, ...]) -> Iterator[Statement]:
        for node in body:
            inner = getattr(node, "body", None)
            last_line = max(node.lineno, inner[0].lineno - 1) if inner else node.end_lineno
            comment = self.comments.get(last_line, "").rpartition("-> ")[2]  # of a function's, what it returns
            shape = re.match(r"(\[[^\]]+\])+", comment)
            dims = tuple(re.findall(r"\[([^\]]+)\]", shape.group())) if shape else ()
            yield Statement(node.lineno, last_line, _targets(node), loops, dims, node)
            around = loops + (_names(node.target) if isinstance(node, ast.For) else ())
            for block in ("body", "orelse", "finalbody"):
                yield from self._statements(getattr(node, block, []), around)

    def function_at(self, line: int) -> Optional[Function]:
        """The function that the line stands in."""
        return next((f for f in self.functions.values() if f.first_line <= line <= f.last_line), None)

    def comment_on(self, line: int) -> str:
        """What the source says of a line: the comment that ends it, shapes left out, or else the one that heads its
        block (the nearest above that stands no deeper, with no blank line between)."""
        own = re.sub(r"^(\[[^\]]+\])+ *", "", self.comments.get(line, ""))
        depth = self._depth(line)
        while not own and self.lines[line - 2].strip():
            line -= 1
            if self.lines[line - 1].lstrip().startswith("#") and self._depth(line) <= depth:
                own = self.comments.get(line, "")
            depth = min(depth, self._depth(line))
        return own

    def _depth(self, line: int) -> int:
        """How far a line is indented."""
        return len(self.lines[line - 1]) - len(self.lines[line - 1].lstrip())


OPERATORS = {"a + b": "__add__", "a * b": "__mul__", "a ** n": "__pow__"}


def _said_of_operators(docstring: str) -> dict[str, str]:
    """What the table in a class's docstring says of its methods, which are too short for docstrings of their own:
    "a + b      ∂/∂a = 1, ∂/∂b = 1" -> {"__add__": "a + b: ∂/∂a = 1, ∂/∂b = 1."}."""
    rows = re.findall(r"^(a \S+ \w|a\.\w+\(\)) {2,}(.*(?:\n {4,}.*)*)", docstring, re.MULTILINE)
    return {OPERATORS.get(head, head[2:-2]): f"{head}: {' '.join(text.split())}." for head, text in rows}


def _names(*targets: ast.expr) -> tuple[str, ...]:
    """The plain variables among targets: a; b, c."""
    single = [name for target in targets for name in (target.elts if isinstance(target, ast.Tuple) else [target])]
    return tuple(name.id for name in single if isinstance(name, ast.Name))


def _targets(node: ast.stmt) -> tuple[str, ...]:
    """The plain variables that a statement assigns, or, in `name += ...` or `name.method(...)`, may have changed."""
    if isinstance(node, (ast.Assign, ast.AnnAssign, ast.AugAssign)):
        return _names(*(node.targets if isinstance(node, ast.Assign) else [node.target]))
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and isinstance(node.value.func, ast.Attribute):
        changed = node.value.func.value
        return (changed.id,) if isinstance(changed, ast.Name) else ()
    return ()


# ======================================================================================================================
# The trace
# ======================================================================================================================


@dataclass
class Moment:
    """One execution of one statement. The numbers it made are trace.numbers[first:last], helpers' included."""

    function: Function
    statement: Statement
    parent: Optional[Moment]  # the statement that called the function
    label: str = ""  # what its numbers are named for: "layer0.q"
    where: str = ""  # the position, written "3 'm'"; empty outside the loop over positions
    first: int = 0
    last: int = 0
    length: Optional[int] = None  # that the list had before, if the statement changes one in place
    returned: tuple[str, ...] = ()  # the dims of what it assigns, if the function it calls says so at its return

    def assigned(self, variable: Optional[str]) -> list[Statement]:
        """The statements that assign the variable, in the order of the source, as far as this one."""
        return [s for s in self.function.assignments.get(variable, ()) if s.line <= self.statement.line]


@dataclass
class Number:
    """One Value of the step.

    operation   "parameter", "constant", or the function that made it: "add", "linear", "relu", ...
    inputs      the indices of its children in trace.numbers; slopes its local gradients, in the same order
    unlinked    what the operation read, of a result that has no children: a silent relu's 0 is linked to nothing
    arguments   what the operation was given besides: {"exponent": -0.5}
    value       before the update; gradient: ∂loss/∂value
    moment      the execution of a statement in which it was made; None for a parameter
    line        of that statement; made_at: of the `Value(...)` in its operation
    callers     the lines through which the statement was reached, innermost first
    dims        what the indices of its variable count, from the comment on the line: ("n_embd",); "" if it is silent
    """

    index: int
    operation: str
    value: float
    gradient: float = 0.0
    inputs: tuple[int, ...] = ()
    slopes: tuple[float, ...] = ()
    unlinked: tuple[int, ...] = ()
    arguments: dict[str, float] = field(default_factory=dict)
    moment: Optional[Moment] = None
    line: int = 0
    made_at: int = 0
    callers: tuple[int, ...] = ()
    name: str = ""
    aliases: list[str] = field(default_factory=list)
    dims: tuple[str, ...] = ()

    @property
    def is_computed(self) -> bool:
        """Whether an operation computed it: neither a parameter nor a constant that the program wrote."""
        return bool(self.inputs or self.unlinked)

    @property
    def operands(self) -> tuple[int, ...]:
        """What its formula reads, linked or not."""
        return self.inputs or self.unlinked

    @property
    def model_moment(self) -> Moment:
        """The statement of the model that the number served: its own, or the one that called the helper it is in."""
        moment = self.moment
        while not moment.function.has_model:
            moment = moment.parent
        return moment


@dataclass(frozen=True)
class UpdateLine:
    """One line of AdamOptimizer.step's loop: `name` is what it computes ("m", "v", "data"), `formula` its right
    side, with `{0}`, `{1}` ... for the operands, whose texts are `symbols`."""

    line: int
    name: str
    formula: str
    symbols: tuple[str, ...]


@dataclass
class Update:
    """What one line of Adam did to one parameter: the operands it read, in order of appearance, and the result."""

    line: UpdateLine
    operands: tuple[float, ...]
    result: float


class Trace:
    """A recorded step: `numbers` in order of birth (parameters first), and how to find them."""

    def __init__(self, source: Source, tokens: list[int], tokenizer: gpt.Tokenizer, config: gpt.GPTConfig,
                 shapes: dict[str, tuple[int, int]]) -> None:
        self.source, self.tokens, self.tokenizer, self.config = source, tokens, tokenizer, config
        self.shapes = shapes  # of the weight matrices, in the order of the state_dict
        self.numbers: list[Number] = []
        self.moments: list[Moment] = []
        self.runs: dict[int, int] = {}  # line -> how often it ran
        self.update_lines: list[UpdateLine] = []
        self.updates: dict[int, list[Update]] = {}  # parameter's index -> what the lines did to it, in order
        self.after: list[float] = []  # the parameters after the step
        self.learning_rate = 0.0
        self.updates_before = 0  # of the optimizer
        self.loss_index = -1
        self.by_name: dict[str, int] = {}
        self._by_plain_name: dict[str, str] = {}
        self.uses: list[list[tuple[int, float]]] = []  # for each number: (the number that used it, with which slope)
        self.silenced: dict[int, list[int]] = {}  # for some: the results that read it and kept no link

    @property
    def loss(self) -> Number:
        """The number that backward was called on."""
        return self.numbers[self.loss_index]

    @property
    def positions(self) -> int:
        """How many predictions the step is about: one for each token read."""
        return min(self.config.block_size, len(self.tokens) - 1)

    def letter(self, token: int) -> str:
        """A token as it is written in names: 'm', or BOS."""
        return "BOS" if token == self.tokenizer.bos else repr(self.tokenizer.vocabulary[token])

    def where(self, position: int) -> str:
        """A position as it is written in names: 3 'm'."""
        return f"{position} {self.letter(self.tokens[position])}"

    @property
    def parameters(self) -> range:
        """The indices of the parameters, in the order of the state_dict."""
        return range(sum(rows * columns for rows, columns in self.shapes.values()))

    def matrix(self, name: str) -> range:
        """The indices of one weight matrix, row by row."""
        first = 0
        for matrix, (rows, columns) in self.shapes.items():
            if matrix == name:
                return range(first, first + rows * columns)
            first += rows * columns
        raise KeyError(name)

    @property
    def computed(self) -> list[Number]:
        """The numbers that were computed, in order of birth: neither parameters nor constants."""
        return [number for number in self.numbers if number.is_computed]

    def slots(self) -> dict[str, list[Number]]:
        """The computed numbers by what they are called before the first bracket: "layer0.q" -> all of layer0.q."""
        slots: dict[str, list[Number]] = {}
        for number in self.computed:
            slots.setdefault(number.name.split("[")[0], []).append(number)
        return slots

    @staticmethod
    def by_position(numbers: Sequence[Number]) -> dict[str, list[Number]]:
        """The numbers of a slot, a list for each position: "3 'm'" -> [...]; "" for what belongs to none."""
        rows: dict[str, list[Number]] = {}
        for number in numbers:
            rows.setdefault(number.moment.where, []).append(number)
        return rows

    def variables(self) -> dict[str, list[Number]]:
        """The slots that are variables of the model: not those of a helper, nor what stands only inside a line."""
        slots = self.slots()
        return {label: numbers for label, numbers in slots.items()
                if "~" not in label and label.rpartition(".")[0] not in slots}

    def vectors(self) -> dict[str, list[Number]]:
        """The slots that hold a vector of the model at each position: variables, and what was made on the way to them
        in their lines. Attention, whose vectors grow with the position, and the logits are told elsewhere."""
        variables = self.variables()
        return {label: numbers for label, numbers in self.slots().items()
                if label.partition("~")[0] in variables and numbers[0].moment.where
                and len(numbers) > len(self.by_position(numbers))
                and not set(numbers[0].dims) & {"position + 1", "vocab_size"}}

    def find(self, name: str) -> Optional[Number]:
        """The number of this name or alias. The letters may be left out, attn_weights[3 -> 1], but not be wrong."""
        if name in self.by_name:
            return self.numbers[self.by_name[name]]
        known = self._by_plain_name.get(plain(name))
        if known is None or any(typed not in ("", right) for typed, right in zip(_labels(name), _labels(known))):
            return None
        return self.numbers[self.by_name[known]]

    def finish(self) -> None:
        """Called once all is recorded: indexes the names, and turns inputs round into uses."""
        self.by_name = {name: n.index for n in reversed(self.numbers) for name in (*reversed(n.aliases), n.name)}
        self._by_plain_name = {plain(name): name for name in reversed(self.by_name)}
        self.uses = [[] for _ in self.numbers]
        ran = {update.line for updates in self.updates.values() for update in updates}
        self.update_lines = [line for line in self.update_lines if line in ran]
        for number in self.numbers:
            for child, slope in zip(number.inputs, number.slopes):
                self.uses[child].append((number.index, slope))
            for child in number.unlinked:
                self.silenced.setdefault(child, []).append(number.index)


LETTER = r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|\bBOS\b"""  # as names write one: 'm', or BOS


def without_letters(name: str) -> str:
    """A name that is easy to type, and still found: attn_weights[3 -> 1] for attn_weights[3 'm' -> 1 'e']."""
    return re.sub(rf"\s+({LETTER})", "", name)


def plain(name: str) -> str:
    """A name as names are compared: without letters and blanks, each index in brackets of its own."""
    return re.sub(r"\s+", "", re.sub(LETTER, "", name)).replace("->", "][").replace(",", "][")


def _labels(name: str) -> list[str]:
    """The letters that stand behind the indices of a name, empty where there is none: q[3 'm'][5] -> ["'m'", ""]."""
    return re.findall(rf"(?<=[\[,>\s])\d+\s*({LETTER})?", name)


# ======================================================================================================================
# Recording
# ======================================================================================================================


def record(
    tokens: list[int],
    state_dict: dict[str, list[list[gpt.Value]]],
    optimizer: gpt.AdamOptimizer,
    learning_rate: float,
    config: gpt.GPTConfig,
    tokenizer: gpt.Tokenizer,
) -> Trace:
    """Runs gpt.train_step(tokens, ...) and returns what happened. The parameters are updated, as by any step.

    Raises what train_step raises, and InputError if a number of the step is not finite.
    """
    shapes = {name: (len(matrix), len(matrix[0])) for name, matrix in state_dict.items()}
    recorder = _Recorder(Trace(Source(gpt.__file__), tokens, tokenizer, config, shapes))
    recorder.trace.learning_rate, recorder.trace.updates_before = learning_rate, optimizer.t
    for name, matrix in state_dict.items():
        for i, row in enumerate(matrix):
            for j, weight in enumerate(row):
                recorder.add_parameter(name, i, j, weight)
    before = sys.gettrace()
    sys.settrace(recorder.on_call)
    try:
        gpt.train_step(tokens, state_dict, optimizer, learning_rate, config)
    finally:
        sys.settrace(before)
    recorder.name_the_rest()
    trace = recorder.trace
    trace.after = [value.data for value in recorder.values[:len(trace.parameters)]]
    trace.finish()
    for number in trace.numbers:
        if not (math.isfinite(number.value) and math.isfinite(number.gradient)):
            raise gpt.InputError(f"{number.name} is {number.value}, its gradient {number.gradient}: not a step to "
                                 "learn from, take another model")
    return trace


class _Recorder:
    """Fills a trace: `on_call` is what sys.settrace calls at each call, the watch_... methods at each line."""

    def __init__(self, trace: Trace) -> None:
        self.trace, self.source = trace, trace.source
        self.values: list[gpt.Value] = []  # the Values themselves: kept, so that no id is given twice
        self.indices: dict[int, int] = {}  # id(Value) -> its index
        self.taken: set[str] = set()
        self.open: list[tuple[object, Optional[Moment]]] = []  # the frames being watched, each with its statement
        self.givers: dict[int, str] = {}  # a number's index -> the helper that returned it
        self.parts: dict[tuple[str, str], int] = {}  # where in a growing list the part of a loop begins
        self.running = None  # the line of Adam under way: statement, UpdateLine, operands, result (code), parameter
        self.rows_are_tokens = _matrices_by_token(trace.config)

    # Values ----------------------------------------------------------------------------------------------------------

    def add(self, value: gpt.Value, number: Number) -> Number:
        self.indices[id(value)] = number.index
        self.values.append(value)
        self.trace.numbers.append(number)
        return number

    def add_parameter(self, name: str, i: int, j: int, weight: gpt.Value) -> None:
        row = f"{i} {self.trace.letter(i)}" if name in self.rows_are_tokens else str(i)
        number = Number(len(self.values), "parameter", float(weight.data))
        self.name(self.add(weight, number), f"{name}[{row}][{j}]", ())

    def born(self, frame) -> None:
        """A Value is being made: note by which operation, for which statement, and how that was reached."""
        lines = []  # of the functions around, innermost first
        around = frame.f_back
        while around and around.f_code.co_filename == self.source.path:
            if not around.f_code.co_name.startswith("<"):  # a comprehension belongs to the function around it
                lines.append((self.source.functions[around.f_code.co_firstlineno], around.f_lineno))
            around = around.f_back
        if not lines:
            return  # a Value that the caller of train_step made
        operation, made_at = lines[0]
        arguments = {name: argument for name in operation.parameters
                     if isinstance(argument := frame.f_back.f_locals.get(name), (int, float))}
        wanted = next(i for i, (function, _) in enumerate(lines) if self.is_told(function))
        given = frame.f_locals
        inputs = tuple(self.index_of(child) for child in given["children"])
        unlinked: tuple[int, ...] = ()
        if not inputs and not any(argument is given["data"] for argument in arguments.values()):
            # Not a plain number that was handed in, so it is a result: of the Values that were.
            unlinked = tuple(self.index_of(argument) for name in operation.parameters
                             if isinstance(argument := frame.f_back.f_locals.get(name), gpt.Value))
        computed = bool(inputs or unlinked)
        number = Number(
            index=len(self.values),
            operation=operation.name.split(".")[-1].strip("_") if computed else "constant",
            value=float(given["data"]),
            inputs=inputs,
            slopes=tuple(given["local_grads"]),
            unlinked=unlinked,
            arguments=arguments if computed else {},
            moment=self.open[-1][1],
            line=lines[wanted][1],
            made_at=made_at,
            callers=tuple(line for _, line in lines[wanted + 1:]),
        )
        self.add(given["self"], number)

    def index_of(self, value: gpt.Value) -> int:
        """The number of a Value; one that was made before the step, and is no parameter, is entered as a constant."""
        if id(value) not in self.indices:
            self.add(value, Number(len(self.values), "constant", float(value.data)))
        return self.indices[id(value)]

    # What sys.settrace calls ------------------------------------------------------------------------------------------

    @staticmethod
    def is_told(function: Function) -> bool:
        """Whether its statements are moments of the step: not inside an operation or a method of Value or Adam."""
        return (function.has_model or not function.makes_values) and "." not in function.name

    def on_call(self, frame, event, argument):
        code = frame.f_code
        if code.co_filename != self.source.path or code.co_name.startswith("<"):
            return None
        function = self.source.functions[code.co_firstlineno]
        if function.name == "Value.__init__":
            self.born(frame)
        if function.name == "Value.backward":
            self.trace.loss_index = self.indices[id(frame.f_locals["self"])]
        if function.name == "AdamOptimizer.step":
            self.read_gradients()
            self.watch_update_of(function)
            return self.watch_update
        if not self.is_told(function):
            return self.count_lines
        self.open.append((function, None))
        return self.watch_statements

    def count_lines(self, frame, event, argument):
        if event == "line":
            self.trace.runs[frame.f_lineno] = self.trace.runs.get(frame.f_lineno, 0) + 1
        return self.count_lines

    def watch_statements(self, frame, event, argument):
        """Closes the statement that has just run, naming what it made, and opens the next."""
        if event not in ("line", "return"):
            return self.watch_statements
        function, moment = self.open[-1]
        statement = function.statements.get(frame.f_lineno)
        if event == "line" and statement is None:
            return self.watch_statements  # the head of a block, such as `else:` or `try:`
        if event == "line" and moment and moment.statement is statement and not isinstance(statement.node, ast.For):
            return self.watch_statements  # another line of the same statement
        if moment:
            moment.last = len(self.values)
            self.name_variables(moment, frame)
            if event == "return":
                self.note_return(moment, argument)
        if event == "return":
            self.open.pop()
            return None
        self.count_lines(frame, event, argument)
        parent = self.open[-2][1] if len(self.open) > 1 else None
        moment = Moment(function, statement, parent, first=len(self.values))
        variable = statement.targets[0] if statement.targets else None
        moment.label, moment.where = self.place(moment, variable, statement.loops, frame)
        if variable and not isinstance(statement.node, (ast.Assign, ast.AnnAssign)):
            before = frame.f_locals.get(variable)
            moment.length = len(before) if isinstance(before, list) else None
        self.open[-1] = function, moment
        self.trace.moments.append(moment)
        return self.watch_statements

    def note_return(self, moment: Moment, result) -> None:
        """What a helper returns is called for it; and the return of a function says what the indices count."""
        function, caller = moment.function, moment.parent
        if caller is None:
            return
        call = getattr(caller.statement.node, "value", None)
        if isinstance(call, ast.Call) and ast.unparse(call.func) == function.name:
            caller.returned = moment.statement.dims
        if not function.has_model:
            for _, value in _values_in(result):
                if id(value) in self.indices:
                    self.givers[self.indices[id(value)]] = function.name

    def read_gradients(self) -> None:
        for number, value in zip(self.trace.numbers, self.values):
            number.gradient = value.grad

    # Names -----------------------------------------------------------------------------------------------------------

    def place(self, moment: Moment, variable: Optional[str], loops: tuple[str, ...], frame) -> tuple[str, str]:
        """What a variable of this statement is called in these loops, and at which position:
        ("layer0.head2.scores", "3 'm'")."""
        function, parent = moment.function, moment.parent
        position = frame.f_locals.get("position") if "position" in (*function.parameters, *loops) else None
        where = self.trace.where(position) if position is not None else parent.where if parent else ""
        if function.has_model:
            scope = "".join(f"{loop}{frame.f_locals[loop]}." for loop in loops
                            if loop != "position" and isinstance(frame.f_locals.get(loop), int))
        else:
            scope = parent.label
            if variable is None:  # a return: its numbers are what the caller is computing
                return scope, where
            scope += "."
        if variable is None:
            return parent.label if parent else function.name, where
        versions = function.assignments.get(variable, ())
        version = f".{len(moment.assigned(variable))}" if len(versions) > 1 else ""
        return f"{scope}{variable}{version}", where

    def name_variables(self, moment: Moment, frame) -> None:
        """Names the Values in the variables that the statement assigned; those that have a name get an alias."""
        for variable in moment.statement.targets:
            thing = frame.f_locals.get(variable)
            # A list that grew belongs where it was begun, and its new part here as well.
            begun = moment.assigned(variable)[-1:] if moment.length is not None else []
            origin = begun[0] if begun else moment.statement
            label, where = self.place(moment, variable, origin.loops, frame)
            self.name_values(thing, label, where, origin.dims or moment.returned)
            if begun and label != moment.label:
                first = self.parts.setdefault((moment.label, moment.where), moment.length)
                self.name_values(thing[first:], moment.label, moment.where, ())

    def name_values(self, thing, label: str, where: str, dims: tuple[str, ...]) -> None:
        for path, value in _values_in(thing):
            if id(value) in self.indices:
                dims_of_path = (dims + ("",) * len(path))[:len(path)]
                number = self.trace.numbers[self.indices[id(value)]]
                self.name(number, label + self.brackets(where, path, dims_of_path), dims_of_path)

    def brackets(self, where: str, path: tuple[int, ...], dims: tuple[str, ...]) -> str:
        """The indices of a name: the position, then the path, each labelled by what its dimension counts."""
        text = f"[{where}]" if where else ""
        for place, dim in zip(path, dims):
            if dim == "position + 1" and where:
                text = text[:-1] + f" -> {self.trace.where(place)}]"
            elif dim == "vocab_size":
                text += f"[{place} {self.trace.letter(place)}]"
            else:
                text += f"[{place}]"
        return text

    def name(self, number: Number, name: str, dims: tuple[str, ...]) -> None:
        if name == number.name or name in number.aliases:
            return
        copy = 1
        unique = name
        while unique in self.taken:  # two calls of a helper in one statement
            copy += 1
            unique = f"{name}#{copy}"
        self.taken.add(unique)
        if number.name:
            number.aliases.append(unique)
        else:
            number.name, number.dims = unique, dims

    def name_the_rest(self) -> None:
        """Numbers in no variable: named for what their statement was computing, and for what gave them."""
        groups: dict[tuple[int, str], list[Number]] = {}
        for number in self.trace.numbers:
            if not number.name and number.operation != "constant":
                giver = self.givers.get(number.index, number.operation)
                groups.setdefault((id(number.moment), giver), []).append(number)
        for (_, giver), numbers in groups.items():
            moment = numbers[0].moment
            made = [n for n in self.trace.numbers[moment.first:moment.last] if n.name.startswith(f"{moment.label}[")]
            dims = made[0].dims[:1] if made and len(made) == len(numbers) else ("",) if len(numbers) > 1 else ()
            for i, number in enumerate(numbers):
                self.name(number, f"{moment.label}~{giver}" + self.brackets(moment.where, (i,), dims), dims)
        for number in self.trace.numbers:
            for child in number.inputs:
                if not self.trace.numbers[child].name:
                    self.name(self.trace.numbers[child], f"{number.name}~constant", ())

    # Adam ------------------------------------------------------------------------------------------------------------

    def watch_update_of(self, function: Function) -> None:
        """Prepares the lines of Adam's loop: what each computes, and the operands to note before it runs."""
        self.update_code = {}
        for line, statement in sorted(function.statements.items()):
            node = statement.node
            if line > statement.line or not statement.loops or not isinstance(node, (ast.Assign, ast.AugAssign)):
                continue
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            right = node.value if isinstance(node, ast.Assign) else ast.BinOp(target, node.op, node.value)
            if any(isinstance(part, (ast.comprehension, ast.Lambda)) for part in ast.walk(node)):
                continue  # its variables cannot be asked from outside
            operands = _Operands()
            formula = ast.unparse(operands.visit(ast.parse(ast.unparse(right), mode="eval")).body)
            if not operands.found:
                continue  # parameter.grad = 0.0
            text = ast.unparse(target)
            name = re.sub(r"^parameter\.|\[i\]$", "", text)
            update_line = UpdateLine(line, name, formula, tuple(operands.found))
            self.trace.update_lines.append(update_line)
            codes = [compile(operand, "<operand>", "eval") for operand in operands.found]
            self.update_code[line] = update_line, codes, compile(text, "<target>", "eval"), statement

    def watch_update(self, frame, event, argument):
        """Notes the operands of a line of the update before it runs, and its result after."""
        if event != "line":
            return self.watch_update
        names = frame.f_locals
        if self.running:
            statement, line, operands, target, parameter = self.running
            if statement.line <= frame.f_lineno <= statement.last_line:
                return self.watch_update  # another line of the same statement
            result = eval(target, frame.f_globals, names)
            if all(isinstance(x, (int, float)) for x in (*operands, result)):
                self.trace.updates.setdefault(parameter, []).append(Update(line, operands, result))
            self.running = None
        self.count_lines(frame, event, argument)
        if frame.f_lineno in self.update_code:
            line, codes, target, statement = self.update_code[frame.f_lineno]
            operands = tuple(eval(code, frame.f_globals, names) for code in codes)
            parameter = next(self.indices[id(names[name])] for name in statement.loops
                             if id(names[name]) in self.indices)
            self.running = statement, line, operands, target, parameter
        return self.watch_update


class _Operands(ast.NodeTransformer):
    """Puts {0}, {1} ... in the place of what a formula reads: names, attributes, elements; `found` lists them."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def _operand(self, node: ast.expr) -> ast.expr:
        text = ast.unparse(node)
        if text not in self.found:
            self.found.append(text)
        return ast.Set([ast.Constant(self.found.index(text))])  # unparsed as {0}

    visit_Name = visit_Attribute = visit_Subscript = _operand

    def visit_Call(self, node: ast.Call) -> ast.Call:
        node.args = [self.visit(argument) for argument in node.args]
        if isinstance(node.func, ast.Attribute):
            node.func = ast.Name(node.func.attr)  # math.sqrt is written sqrt, and is no operand
        return node


def _matrices_by_token(config: gpt.GPTConfig) -> set[str]:
    """The matrices with a row for each token: those that a larger vocabulary makes longer, seen on thin models."""
    thin = dataclasses.replace(config, n_embd=config.n_head)
    one, other = (gpt.initialize_parameters(thin, vocab_size, random.Random(0)) for vocab_size in (1, 2))
    return {name for name in one if len(one[name]) < len(other[name])}


def _values_in(thing, path: tuple[int, ...] = ()) -> Iterator[tuple[tuple[int, ...], gpt.Value]]:
    """The Values in nested lists and tuples, each with the indices that lead to it."""
    if isinstance(thing, gpt.Value):
        yield path, thing
    elif isinstance(thing, (list, tuple)):
        for i, item in enumerate(thing):
            yield from _values_in(item, path + (i,))


# ======================================================================================================================
# Formulas
# ======================================================================================================================


def formula(operation: str, inputs: Sequence[str], arguments: dict[str, float]) -> str:
    """What an operation computes, as a Python expression over the texts of its operands: "2.0 * 3.0".

    With numbers for inputs, and exp and log from math, Python evaluates it to the operation's result, up to rounding.
    """
    half = len(inputs) // 2
    if operation in ("add", "mul"):
        return (" + " if operation == "add" else " * ").join(inputs)
    if operation == "pow":
        return f"({inputs[0]}) ** {arguments['exponent']}"
    if operation == "relu":
        return f"max({inputs[0]}, 0.0)"
    if operation == "linear":  # the children are one vector, then the other
        return " + ".join(f"{a} * {b}" for a, b in zip(inputs[:half], inputs[half:]))
    if operation == "logsumexp":
        return f"log({' + '.join(f'exp({x})' for x in inputs)})"
    return f"{operation}({', '.join([*inputs, *map(str, arguments.values())])})"  # exp, log, and any new one


def symbol(number: Number) -> str:
    """How a number is written in a formula: by its name, a constant by its value."""
    return repr(number.value) if number.operation == "constant" else number.name


def formula_of(trace: Trace, number: Number) -> str:
    """The number's formula with the names of its operands."""
    return formula(number.operation, [symbol(trace.numbers[i]) for i in number.operands], number.arguments)


def formula_in_numbers(trace: Trace, number: Number) -> str:
    """The number's formula with the values of its operands, every digit of them."""
    return formula(number.operation, [repr(trace.numbers[i].value) for i in number.operands], number.arguments)


# ======================================================================================================================
# Explanations
# ======================================================================================================================


def first_sentence(docstring: str) -> str:
    """The beginning of a docstring, up to its first full stop."""
    paragraph = " ".join(docstring.split("\n\n")[0].split())
    return re.split(r"(?<=\.) (?=[A-Z\[])", paragraph)[0]


def explain(trace: Trace, number: Number) -> str:
    """What the source says of the number: the comment at its line, and the first sentence of what computed it."""
    if number.operation == "parameter":
        return "A parameter: drawn at random at the start, changed by the updates since."
    if not number.is_computed:
        return "A plain number that an operation made into a Value, so that it can stand in the graph."
    moment = number.model_moment
    said = [trace.source.comment_on(moment.statement.line)]
    if number.moment is not moment or isinstance(moment.statement.node, ast.Return):
        said.append(first_sentence(number.moment.function.docstring))
    said.append(first_sentence(trace.source.function_at(number.made_at).docstring))
    return " ".join(text for text in said if text)


def silence(trace: Trace, number: Number) -> str:
    """What is to be said where the graph is cut: of a result without links, and of what only such a one read."""
    if number.unlinked:
        read = [trace.numbers[i] for i in number.unlinked]
        what = " and ".join(f"{child.name} = {child.value:.4g}" for child in read)
        said = f"{number.operation} read {what}, and gave a constant that is linked to nothing: no gradient goes back."
        return "A silent neuron: " * (number.operation == "relu") + said
    if number.index in trace.silenced and not trace.uses[number.index]:
        result = trace.numbers[trace.silenced[number.index][0]]
        return (f"Only {result.operation} read it, and gave {result.name}, a constant that is linked to nothing: so no "
                "gradient comes back, and its own is 0.")
    return ""


def lectures(path: str) -> dict[str, list[tuple[str, str]]]:
    """What script_gpt_educational.py says of each function: its name -> (title, text) of each lecture there.

    The functions are those of script_gpt_refactored.py, for the two have one syntax tree.
    """
    found = {}
    for function in Source(path).functions.values():
        parts = re.split(r"^LECTURE: (.+)$", function.docstring, flags=re.MULTILINE)
        if len(parts) > 1:
            found[function.name] = [(title, text.strip()) for title, text in zip(parts[1::2], parts[2::2])]
    return found


def educational_path() -> str:
    """Where the lecture stands."""
    return os.path.join(os.path.dirname(os.path.abspath(gpt.__file__)), "script_gpt_educational.py")
