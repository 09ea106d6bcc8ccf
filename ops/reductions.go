package ops

import (
	"math"

	"github.com/bonnx/bonnx/internal/kernel"
	"github.com/bonnx/bonnx/internal/par"
	"github.com/bonnx/bonnx/ir"
)

// reductionTable lists the reductions, each as in
// https://onnx.ai/onnx/operators/onnx__NAME.html.
func reductionTable() []Entry {
	rows := []*reduceRow{
		{"ReduceSum", Accurate, sumKinds(), false, func(r reduceGrad) *ir.Value { return r.dy }},
		{"ReduceMean", Accurate, []reduceKind{reduceOf(kernel.ReduceMean[float32]), reduceOf(kernel.ReduceMean[float64])}, true, gradMean},
		{"ReduceMax", Exact, reduceMaxKinds(), false, gradExtreme},
		{"ReduceMin", Exact, reduceMinKinds(), false, gradExtreme},
		{"ReduceProd", Accurate, prodKinds(), true, gradProd},
		{"ReduceL1", Accurate, []reduceKind{reduceOf(kernel.ReduceL1[float32]), reduceOf(kernel.ReduceL1[float64])}, true, gradL1},
		{"ReduceL2", Accurate, []reduceKind{reduceOf(kernel.ReduceL2[float32]), reduceOf(kernel.ReduceL2[float64])}, true, gradL2},
		{"ReduceSumSquare", Accurate, []reduceKind{reduceOf(kernel.ReduceSumSquare[float32]), reduceOf(kernel.ReduceSumSquare[float64])}, true, gradSumSquare},
		{"ReduceLogSum", Accurate, []reduceKind{reduceOf(reduceLogSum[float32]), reduceOf(reduceLogSum[float64])}, true, gradLogSum},
		{"ReduceLogSumExp", Accurate, []reduceKind{reduceOf(kernel.ReduceLogSumExp[float32]), reduceOf(kernel.ReduceLogSumExp[float64])}, true, gradLogSumExp},
	}
	entries := make([]Entry, len(rows))
	for i, r := range rows {
		entries[i] = r.entry()
	}
	return entries
}

func sumKinds() []reduceKind {
	return []reduceKind{
		reduceOf(kernel.ReduceSum[float32]), reduceOf(kernel.ReduceSum[float64]),
		reduceOf(kernel.ReduceSumInt[int64]), reduceOf(kernel.ReduceSumInt[int32]),
		reduceOf(kernel.ReduceSumInt[uint64]), reduceOf(kernel.ReduceSumInt[uint32]),
	}
}

func prodKinds() []reduceKind {
	return []reduceKind{
		reduceOf(kernel.ReduceProd[float32]), reduceOf(kernel.ReduceProd[float64]),
		reduceOf(kernel.ReduceProd[int64]), reduceOf(kernel.ReduceProd[int32]),
	}
}

func reduceMaxKinds() []reduceKind {
	return []reduceKind{
		maxOver(float32(math.Inf(-1))), maxOver(math.Inf(-1)), maxOver[int64](math.MinInt64), maxOver[int32](math.MinInt32),
		maxOver[int8](math.MinInt8), maxOver[uint8](0), maxOver[uint32](0), maxOver[uint64](0), boolOver(true),
	}
}

func reduceMinKinds() []reduceKind {
	return []reduceKind{
		minOver(float32(math.Inf(1))), minOver(math.Inf(1)), minOver[int64](math.MaxInt64), minOver[int32](math.MaxInt32),
		minOver[int8](math.MaxInt8), minOver[uint8](math.MaxUint8), minOver[uint32](math.MaxUint32), minOver[uint64](math.MaxUint64), boolOver(false),
	}
}

func maxOver[T kernel.Numeric](low T) reduceKind {
	return reduceOf(func(p *par.Pool, outer, n, inner int, dst, x []T) { kernel.ReduceMax(p, outer, n, inner, dst, x, low) })
}

func minOver[T kernel.Numeric](high T) reduceKind {
	return reduceOf(func(p *par.Pool, outer, n, inner int, dst, x []T) { kernel.ReduceMin(p, outer, n, inner, dst, x, high) })
}

// boolOver is "any" where found is true, "all" where it is false.
func boolOver(found bool) reduceKind {
	f := func(s, x bool) bool {
		if x == found {
			return found
		}
		return s
	}
	return reduceOf(func(p *par.Pool, outer, n, inner int, dst, x []bool) {
		kernel.Reduce(p, outer, n, inner, dst, x, !found, f)
	})
}

func reduceLogSum[T kernel.Float](p *par.Pool, outer, n, inner int, dst, x []T) {
	kernel.ReduceSum(p, outer, n, inner, dst, x)
	kernel.Log(p, dst[:outer*inner], dst[:outer*inner])
}

// gradMean divides by how many elements make one: size of x over size of y.
func gradMean(r reduceGrad) *ir.Value {
	n := r.Div(r.Op("Size", ir.In(r.x)), r.Op("Size", ir.In(r.dy)))
	return r.Div(r.dy, r.Cast(n, r.Fact(r.dy).DType))
}

// gradExtreme gives the gradient to the elements that are the extreme, in
// equal parts.
func gradExtreme(r reduceGrad) *ir.Value {
	mask := r.Cast(r.Op("Equal", ir.In(r.x, r.y())), r.Fact(r.dy).DType)
	return r.Mul(mask, r.Div(r.dy, r.sum(mask)))
}

// gradProd divides the product by the element, which must not be zero.
func gradProd(r reduceGrad) *ir.Value { return r.Div(r.Mul(r.dy, r.y()), r.x) }

func gradL1(r reduceGrad) *ir.Value { return r.Mul(r.dy, r.Op("Sign", ir.In(r.x))) }

func gradL2(r reduceGrad) *ir.Value { return r.Mul(r.Div(r.dy, r.y()), r.x) }

func gradSumSquare(r reduceGrad) *ir.Value { return r.Mul(r.Mul(r.dy, r.c(2)), r.x) }

func gradLogSum(r reduceGrad) *ir.Value { return r.Div(r.dy, r.f("Exp", r.y())) }

func gradLogSumExp(r reduceGrad) *ir.Value { return r.Mul(r.dy, r.f("Exp", r.Sub(r.x, r.y()))) }
