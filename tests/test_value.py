"""Value and the vector functions: every slope against central differences, and the promises of the tape."""
import math
import random

import pytest

TRIES = 50


def slopes_agree(engine, function, numbers, step=1e-6, tolerance=1e-5):
    """Compares backward with (f(x + step) - f(x - step)) / (2 step), for each of the numbers."""
    values = [engine.Value(number) for number in numbers]
    function(*values).backward()
    for i in range(len(numbers)):
        def at(shift):
            moved = [engine.Value(number + shift * (i == j)) for j, number in enumerate(numbers)]
            return function(*moved).data
        measured = (at(step) - at(-step)) / (2 * step)
        assert values[i].grad == pytest.approx(measured, rel=tolerance, abs=tolerance), (i, numbers)
    engine.Value.tape.clear()


OPERATORS = {
    "a + b": lambda a, b: a + b,
    "a - b": lambda a, b: a - b,
    "a * b": lambda a, b: a * b,
    "a / b": lambda a, b: a / b,
    "-a": lambda a, b: -a * b,
    "a + 3": lambda a, b: (a + 3) * b,
    "3 + a": lambda a, b: (3 + a) * b,
    "a - 3": lambda a, b: (a - 3) * b,
    "3 - a": lambda a, b: (3 - a) * b,
    "a * 3": lambda a, b: (a * 3) * b,
    "3 * a": lambda a, b: (3 * a) * b,
    "a / 3": lambda a, b: (a / 3) * b,
    "3 / a": lambda a, b: (3 / a) * b,
    "a ** 3": lambda a, b: a**3 * b,
    "a ** -0.5": lambda a, b: a**-0.5 * b,
    "exp": lambda a, b: a.exp() * b,
    "log": lambda a, b: a.log() * b,
    "relu": lambda a, b: a.relu() * b + (-a).relu() * b * b,
    "a used twice": lambda a, b: a * a + a * b + b,
    "a long way round": lambda a, b: ((a * b).exp() / (a + b)).log() * a**2,
}


@pytest.mark.parametrize("name", OPERATORS)
def test_every_operator_has_the_slopes_of_central_differences(engine, name):
    rng = random.Random(name)
    for _ in range(TRIES):
        slopes_agree(engine, OPERATORS[name], [rng.uniform(0.2, 3.0), rng.uniform(0.2, 3.0)])


@pytest.mark.parametrize("name", ["a + b", "a - b", "a * b", "a / b", "a ** 3", "exp", "relu"])
def test_operators_at_negative_numbers(engine, name):
    rng = random.Random(name)
    for _ in range(TRIES):
        slopes_agree(engine, OPERATORS[name], [rng.uniform(-3.0, -0.2), rng.uniform(-3.0, -0.2)])


def test_values_of_the_operators(engine):
    a, b = engine.Value(6.0), engine.Value(-4.0)
    results = [a + b, a - b, a * b, a / b, a**2, -a, 1 + a, 1 - a, 2 * a, 3 / a, a.log(), b.exp(), a.relu(), b.relu()]
    expected = [2.0, 10.0, -24.0, -1.5, 36.0, -6.0, 7.0, -5.0, 12.0, 0.5, math.log(6), math.exp(-4), 6.0, 0.0]
    assert [result.data for result in results] == pytest.approx(expected, rel=1e-15)


def test_a_constant_power_only(engine):
    with pytest.raises(TypeError):
        engine.Value(2.0) ** engine.Value(2.0)
    with pytest.raises(TypeError):
        2 ** engine.Value(2.0)
    with pytest.raises(TypeError):
        engine.Value(-8.0) ** 0.5  # not a complex number without a word


def test_powers_of_0_and_division_by_0(engine):
    """As with plain numbers: 0 ** 0 is 1, and division by 0 is a ZeroDivisionError, however it is written."""
    zero, one = engine.Value(0.0), engine.Value(1.0)
    power = zero**0
    power.backward()
    assert (power.data, zero.grad) == (1.0, 0.0)
    assert (engine.Value(0.0) ** 2).data == 0.0
    for divide in (lambda: one / zero, lambda: one / 0, lambda: 1 / zero, lambda: zero**-1, lambda: zero**-0.5):
        with pytest.raises(ZeroDivisionError):
            divide()


def test_relu_at_exactly_0_is_0_with_slope_0(engine):
    for number in (0.0, -0.0):
        a, b = engine.Value(number), engine.Value(3.0)
        result = a.relu() * b + a * 0.0
        assert a.relu().data == 0.0
        result.backward()
        assert (a.grad, b.grad) == (0.0, 0.0)


def test_a_value_shows_its_number_and_its_gradient():
    import script_gpt_refactored as gpt
    assert repr(gpt.Value(2.0)) == "Value(data=2.0, grad=0.0)"


def test_vector_functions_have_the_slopes_of_central_differences(engine):
    rng = random.Random(1)
    for _ in range(TRIES):
        n = rng.randint(1, 6)
        numbers = [rng.gauss(0, 1) for _ in range(3 * n)]
        mix = [rng.gauss(0, 1) for _ in range(n)]

        def weigh(y):
            return sum(weight * value for weight, value in zip(mix, y))

        def split(values):
            return list(values[:n]), [list(values[n : 2 * n]), list(values[2 * n :])]

        slopes_agree(engine, lambda *x: engine.dot(list(x[:n]), list(x[n : 2 * n])), numbers[: 2 * n])
        slopes_agree(engine, lambda *x: weigh(engine.linear(*split(x))), numbers)
        slopes_agree(engine, lambda *x: engine.logsumexp(x), numbers)
        slopes_agree(engine, lambda *x: weigh(engine.add(x[:n], x[n : 2 * n])), numbers[: 2 * n])
        slopes_agree(engine, lambda *x: weigh(engine.softmax(x)), numbers[:n])
        slopes_agree(engine, lambda *x: weigh(engine.rmsnorm(list(x))), numbers[:n], tolerance=1e-4)


def test_dot_and_linear_are_products_and_sums(engine):
    rng = random.Random(2)
    for _ in range(TRIES):
        n_in, n_out = rng.randint(1, 8), rng.randint(1, 8)
        x = [rng.gauss(0, 1) for _ in range(n_in)]
        weights = [[rng.gauss(0, 1) for _ in range(n_in)] for _ in range(n_out)]
        y = engine.linear([engine.Value(a) for a in x], [[engine.Value(w) for w in row] for row in weights])
        assert [value.data for value in y] == pytest.approx([sum(w * a for w, a in zip(row, x)) for row in weights])


def test_the_slopes_of_logsumexp_are_exactly_softmax(engine):
    numbers = [0.3, -1.2, 2.0]
    x = [engine.Value(number) for number in numbers]
    engine.logsumexp(x).backward()
    total = sum(math.exp(number) for number in numbers)
    assert [value.grad for value in x] == pytest.approx([math.exp(number) / total for number in numbers], rel=1e-14)


def test_softmax_sums_to_one_at_any_size(engine):
    rng = random.Random(3)
    for size in (1e-6, 1.0, 100.0, 1e4, 1e8):
        x = [engine.Value(rng.gauss(0, size)) for _ in range(10)]
        p = [value.data for value in engine.softmax(x)]
        assert sum(p) == pytest.approx(1.0, abs=1e-6)
        assert all(0.0 <= number <= 1.0 + 1e-9 for number in p)
    assert [p.data for p in engine.softmax([engine.Value(1000.0), engine.Value(0.0)])] == [1.0, 0.0]
    assert [p.data for p in engine.softmax([engine.Value(-1000.0)])] == [1.0]


def test_softmax_does_not_see_a_common_shift(engine):
    plain = [p.data for p in engine.softmax([engine.Value(x) for x in (1.0, 2.0, 3.0)])]
    shifted = [p.data for p in engine.softmax([engine.Value(x) for x in (901.0, 902.0, 903.0)])]
    assert plain == pytest.approx(shifted, rel=1e-12)


def test_rmsnorm_makes_the_mean_square_one_and_keeps_zero(engine):
    rng = random.Random(4)
    for size in (0.1, 1.0, 1000.0):
        x = [rng.gauss(0, size) for _ in range(16)]
        y = [value.data for value in engine.rmsnorm([engine.Value(number) for number in x])]
        mean_square = sum(number * number for number in x) / 16
        assert sum(number * number for number in y) / 16 == pytest.approx(mean_square / (mean_square + 1e-5), rel=1e-12)
    assert [y.data for y in engine.rmsnorm([engine.Value(0.0)] * 3)] == [0.0, 0.0, 0.0]


def test_a_value_used_twice_gets_both_slopes(engine):
    a = engine.Value(3.0)
    L = a * a + a
    L.backward()
    assert a.grad == 7.0
    b = engine.Value(3.0)
    engine.dot([b, b], [b, engine.Value(5.0)]).backward()
    assert b.grad == 11.0


def test_grads_add_up_over_backwards(engine):
    a = engine.Value(2.0)
    (a * 3.0).backward()
    (a * 5.0).backward()
    assert a.grad == 8.0


def test_backward_twice_is_an_error_that_changes_nothing(engine):
    a = engine.Value(2.0)
    L = a * a
    L.backward()
    with pytest.raises(RuntimeError, match="tape"):
        L.backward()
    assert a.grad == 4.0


def test_backward_on_a_leaf_or_a_value_of_an_earlier_tape_is_an_error(engine):
    with pytest.raises(RuntimeError, match="tape"):
        engine.Value(1.0).backward()
    a = engine.Value(2.0)
    early, late = a * 2.0, a * 3.0
    late.backward()
    with pytest.raises(RuntimeError, match="tape"):
        early.backward()
    assert a.grad == 3.0


def test_backward_from_the_middle_leaves_what_came_after_alone(engine):
    a = engine.Value(2.0)
    middle = a * 3.0
    after = middle * 100.0
    middle.backward()
    assert (a.grad, middle.grad, after.grad) == (3.0, 1.0, 0.0)
    assert engine.Value.tape == []


def test_a_value_from_before_the_last_backward_counts_as_a_constant(engine):
    a = engine.Value(2.0)
    b = a * 3.0
    b.backward()
    c = b * 10.0
    c.backward()
    assert (b.grad, a.grad) == (11.0, 3.0)


def test_a_graph_100_000_deep(engine):
    x = engine.Value(1.0)
    total = x
    for _ in range(100_000):
        total = total + x
    total.backward()
    assert (total.data, x.grad) == (100_001.0, 100_001.0)
    del total  # and taking it apart does not recurse either
