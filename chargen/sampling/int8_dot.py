"""The dot product of int16 and int8 numbers, compiled by numba.

A loop suffices for LLVM, but on x86 it multiplies half as fast as the instruction that multiplies
int16 numbers and adds pairs of the products.
"""

from functools import partial
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils, config
from numba.core.codegen import get_host_cpu_features
from numba.extending import intrinsic, register_jitable

INSTRUCTIONS = {  # by the feature of the processor: int16 numbers at once, and LLVM's name
    "+avx512bw": (32, "llvm.x86.avx512.pmaddw.d.512"),
    "+avx2": (16, "llvm.x86.avx2.pmadd.wd"),
}
_host = vars(config)["CPU_FEATURES"] or get_host_cpu_features()
_pair_sums = [one for feature, one in INSTRUCTIONS.items() if feature in _host.split(",")]


def _loop(x: Any, w: Any) -> Any:
    total = np.int32(0)
    for j in range(len(x)):
        total = np.int32(total + np.int32(x[j]) * np.int32(w[j]))
    return total


def _vectorized(typing: Any, x: Any, w: Any) -> Any:
    lanes, name = _pair_sums[0]
    index, int32 = ir.IntType(64), ir.IntType(32)
    sums = ir.VectorType(int32, lanes // 2)
    wide, narrow = (ir.VectorType(ir.IntType(bits), lanes) for bits in (16, 8))

    def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        x, w = (
            context.make_array(kind)(context, builder, value)
            for kind, value in zip(signature.args, given, strict=True)
        )
        declare = partial(cgutils.get_or_insert_function, builder.module)
        multiply = declare(ir.FunctionType(sums, [wide, wide]), name)
        reduce = declare(ir.FunctionType(int32, [sums]), f"llvm.vector.reduce.add.v{lanes // 2}i32")

        def load(array: Any, place: Any, kind: Any) -> Any:
            address = builder.gep(array.data, [place])
            return builder.load(builder.bitcast(address, kind.as_pointer()), align=1)

        # Two sums, since an addition waits for the one before it.
        totals = [cgutils.alloca_once_value(builder, ir.Constant(sums, None)) for _ in range(2)]
        length = builder.extract_value(x.shape, 0)
        ends = index(0), length, index(2 * lanes)
        with cgutils.for_range_slice(builder, *ends) as (start, _):
            for number, total in enumerate(totals):
                place = builder.add(start, index(number * lanes))
                levels = builder.sext(load(w, place, narrow), wide)
                pairs = builder.call(multiply, [load(x, place, wide), levels])
                builder.store(builder.add(builder.load(total), pairs), total)
        return builder.call(reduce, [builder.add(*map(builder.load, totals))])

    return types.int32(x, w), generate


_has_instruction = _pair_sums and not vars(config)["DISABLE_JIT"]
dot: Any = intrinsic(_vectorized) if _has_instruction else register_jitable(_loop)
"""Returns the int32 dot product of int16 and int8 numbers, contiguous.

Their count is a multiple of `chargen.sampling.quantized.PADDED`.
"""
