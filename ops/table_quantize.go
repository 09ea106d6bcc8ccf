package ops

// quantizeTable lists what works on quantized numbers.
func quantizeTable() []Entry {
	return []Entry{
		{Name: "QuantizeLinear", MinIn: 2, MaxIn: 3, MaxOut: 1, Strict: Exact, New: newQuantizeLinear},
		{Name: "DequantizeLinear", MinIn: 2, MaxIn: 3, MaxOut: 1, Strict: Rounding, New: newDequantizeLinear},
		{Name: "DynamicQuantizeLinear", MinIn: 1, MaxIn: 1, MaxOut: 3, Strict: Rounding, New: newDynamicQuantizeLinear},
		{Name: "QLinearMatMul", MinIn: 8, MaxIn: 8, MaxOut: 1, Strict: Exact, New: newQLinearMatMul},
		{Name: "QLinearConv", MinIn: 8, MaxIn: 9, MaxOut: 1, Strict: Exact, New: newQLinearConv},
		{Name: "ConvInteger", MinIn: 2, MaxIn: 4, MaxOut: 1, Strict: Exact, New: newConvInteger},
	}
}
