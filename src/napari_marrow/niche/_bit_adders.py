"""Counting in bits: eight words are added to a counter at a time, each word eight lanes of 64 bits wide.

A counter holds one number for each bit of a word, spread over planes: plane p holds the bits of weight 2^p. Eight terms
go into three planes through seven full adders (Harley & Seal; see Muła, Kurz & Lemire 2018, "Faster population counts
using AVX2 instructions"), and leave one term of weight eight. The compiler does not find these vectors by itself,
because it cannot know that counter and labels lie apart; so they are written down here as vectors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

WORDS = 8
"""Words of 64 bits that are handled at once."""
_VECTOR = ir.VectorType(ir.IntType(64), WORDS)
_FLAT = types.Array(types.uint64, 1, "C")
_OFFSETS = types.Array(types.int64, 1, "C")


def _full_adder(builder: Any, a: Any, b: Any, c: Any) -> tuple[Any, Any]:
    """Return sum and carry of three words."""
    odd = builder.xor(a, b)
    return builder.xor(odd, c), builder.or_(builder.and_(a, b), builder.and_(odd, c))


def _add_eight(builder: Any, counter: Any, plane: Any, terms: list[Any]) -> Any:
    """Add eight terms to the three planes from offset `plane` on; return the term of eight times their weight."""
    step = ir.Constant(ir.IntType(64), WORDS)
    places = [plane, builder.add(plane, step), builder.add(plane, builder.add(step, step))]
    ones, twos, fours = (_load(builder, counter, place) for place in places)
    carries = []
    for first in range(0, 8, 2):
        ones, carry = _full_adder(builder, ones, terms[first], terms[first + 1])
        carries.append(carry)
    twos, low = _full_adder(builder, twos, carries[0], carries[1])
    twos, high = _full_adder(builder, twos, carries[2], carries[3])
    fours, spill = _full_adder(builder, fours, low, high)
    for place, value in zip(places, (ones, twos, fours), strict=True):
        builder.store(value, _place(builder, counter, place), align=8)
    return spill


def _place(builder: Any, data: Any, offset: Any) -> Any:
    return builder.bitcast(builder.gep(data, [offset]), _VECTOR.as_pointer())


def _load(builder: Any, data: Any, offset: Any) -> Any:
    return builder.load(_place(builder, data, offset), align=8)


def _data(context: Any, builder: Any, kind: Any, value: Any) -> Any:
    return cgutils.create_struct_proxy(kind)(context, builder, value=value).data


@intrinsic
def add_eight(  # type: ignore[no-untyped-def] # numba's typing
    typing, counter, plane, terms, into, place
):
    """Add eight terms to the planes of `counter` from offset `plane` on; the spill goes to `into` at `place`."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        counted, at, words, spilled, where = values
        data = _data(context, builder, signature.args[2], words)
        step = [ir.Constant(ir.IntType(64), WORDS * p) for p in range(8)]
        found = [_load(builder, data, offset) for offset in step]
        spill = _add_eight(builder, _data(context, builder, signature.args[0], counted), at, found)
        out = _data(context, builder, signature.args[3], spilled)
        builder.store(spill, _place(builder, out, where), align=8)
        return context.get_dummy_value()

    return types.void(_FLAT, types.int64, _FLAT, _FLAT, types.int64), generate


def _of_cells(term: Callable[[Any, Any, Any], Any], cells: int) -> Callable[..., Any]:
    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        labels, offsets, a, b, counted, at, spilled, where = values
        data = _data(context, builder, signature.args[0], labels)
        places = _data(context, builder, signature.args[1], offsets)
        terms = []
        for p in range(8):
            cell = [
                builder.load(builder.gep(places, [ir.Constant(ir.IntType(64), p * cells + c)])) for c in range(cells)
            ]
            read = [[_load(builder, data, builder.add(offset, of)) for of in (a, b)] for offset in cell]
            terms.append(term(builder, read[0], read[-1]))
        spill = _add_eight(builder, _data(context, builder, signature.args[4], counted), at, terms)
        out = _data(context, builder, signature.args[6], spilled)
        builder.store(spill, _place(builder, out, where), align=8)
        return context.get_dummy_value()

    return generate


_SIGNATURE = types.void(_FLAT, _OFFSETS, types.int64, types.int64, _FLAT, types.int64, _FLAT, types.int64)


@intrinsic
def add_eight_pairs(  # type: ignore[no-untyped-def]
    typing, labels, offsets, a, b, counter, plane, into, place
):
    """Add in which shuffles eight pairs of cells are of the classes a and b, one each.

    ``offsets[2 p]`` and ``offsets[2 p + 1]`` are where the labels of the two cells of pair p begin, `a` and `b` what
    leads from there to the words of the two classes.
    """

    def one_each(builder: Any, i: list[Any], j: list[Any]) -> Any:
        return builder.or_(builder.and_(i[0], j[1]), builder.and_(i[1], j[0]))

    return _SIGNATURE, _of_cells(one_each, 2)


@intrinsic
def add_eight_cells(  # type: ignore[no-untyped-def]
    typing, labels, offsets, a, b, counter, plane, into, place
):
    """Add in which shuffles eight cells are of class a; `b` is the same as `a`."""
    return _SIGNATURE, _of_cells(lambda builder, i, j: i[0], 1)
