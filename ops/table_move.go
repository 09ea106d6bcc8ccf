package ops

import "github.com/bonnx/bonnx/internal/kernel"

// moveTable lists the operators that move data, compute shapes, compare.
func moveTable() []Entry {
	return []Entry{
		{Name: "And", MinIn: 2, MaxIn: 2, MaxOut: 1, New: newLogic(kernel.And)},
		{Name: "Cast", MinIn: 1, MaxIn: 1, MaxOut: 1, New: newCast},
		{Name: "CastLike", MinIn: 2, MaxIn: 2, MaxOut: 1, New: newCastLike},
		{Name: "Concat", MinIn: 1, MaxIn: -1, MaxOut: 1, New: newConcat},
		{Name: "Constant", MinIn: 0, MaxIn: 0, MaxOut: 1, New: newConstant},
		{Name: "ConstantOfShape", MinIn: 1, MaxIn: 1, MaxOut: 1, New: newConstantOfShape},
		{Name: "Equal", MinIn: 2, MaxIn: 2, MaxOut: 1, New: newCompare(isEqual)},
		{Name: "Expand", MinIn: 2, MaxIn: 2, MaxOut: 1, New: newExpand},
		{Name: "Flatten", MinIn: 1, MaxIn: 1, MaxOut: 1, New: newFlatten},
		{Name: "Gather", MinIn: 2, MaxIn: 2, MaxOut: 1, New: newGather},
		{Name: "GatherGrad", Domain: Domain, MinIn: 3, MaxIn: 3, MaxOut: 1, Strict: Rounding, New: newGatherGrad},
		{Name: "Greater", MinIn: 2, MaxIn: 2, MaxOut: 1, New: newCompare(isGreater)},
		{Name: "GreaterOrEqual", MinIn: 2, MaxIn: 2, MaxOut: 1, New: newCompare(isGreaterEqual)},
		{Name: "Identity", MinIn: 1, MaxIn: 1, MaxOut: 1, New: newIdentity},
		{Name: "IsInf", MinIn: 1, MaxIn: 1, MaxOut: 1, New: newIsInf},
		{Name: "IsNaN", MinIn: 1, MaxIn: 1, MaxOut: 1, New: newIsNaN},
		{Name: "Less", MinIn: 2, MaxIn: 2, MaxOut: 1, New: newCompare(isLess)},
		{Name: "LessOrEqual", MinIn: 2, MaxIn: 2, MaxOut: 1, New: newCompare(isLessEqual)},
		{Name: "Not", MinIn: 1, MaxIn: 1, MaxOut: 1, New: newNot},
		{Name: "Or", MinIn: 2, MaxIn: 2, MaxOut: 1, New: newLogic(kernel.Or)},
		{Name: "Range", MinIn: 3, MaxIn: 3, MaxOut: 1, New: newRange},
		{Name: "Reshape", MinIn: 2, MaxIn: 2, MaxOut: 1, New: newReshape},
		{Name: "Shape", MinIn: 1, MaxIn: 1, MaxOut: 1, New: newShape},
		{Name: "Size", MinIn: 1, MaxIn: 1, MaxOut: 1, New: newSize},
		{Name: "Slice", MinIn: 3, MaxIn: 5, MaxOut: 1, New: newSlice},
		{Name: "SliceGrad", Domain: Domain, MinIn: 4, MaxIn: 6, MaxOut: 1, New: newSliceGrad},
		{Name: "Split", MinIn: 1, MaxIn: 2, MaxOut: -1, New: newSplit},
		{Name: "Squeeze", MinIn: 1, MaxIn: 2, MaxOut: 1, New: newSqueeze},
		{Name: "Transpose", MinIn: 1, MaxIn: 1, MaxOut: 1, New: newTranspose},
		{Name: "Unsqueeze", MinIn: 2, MaxIn: 2, MaxOut: 1, New: newUnsqueeze},
		{Name: "Where", MinIn: 3, MaxIn: 3, MaxOut: 1, New: newWhere},
		{Name: "Xor", MinIn: 2, MaxIn: 2, MaxOut: 1, New: newLogic(kernel.Xor)},
	}
}
