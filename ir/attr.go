package ir

// Attr is one attribute of a node, or a default of a function.
type Attr struct {
	Name    string
	Value   AttrValue // nil where RefAttr names an attribute of the enclosing function
	RefAttr string
	Doc     string
	Extra   any
}

// AttrValue is one of the attribute kinds of ONNX listed below.
type AttrValue interface{ isAttr() }

// The attribute kinds. Tensors are lazy like initializers; strings are bytes,
// as ONNX does not promise UTF-8.
type (
	Int     int64
	Float   float32
	String  string
	Ints    []int64
	Floats  []float32
	Strings []string
	// TensorAttr is a tensor.
	TensorAttr struct{ Data Data }
	// TensorsAttr is a list of tensors.
	TensorsAttr []Data
	// GraphAttr is a sub-graph; it may use values of the graphs around it.
	GraphAttr struct{ Graph *Graph }
	// GraphsAttr is a list of sub-graphs.
	GraphsAttr []*Graph
	// TypeAttr is a type.
	TypeAttr struct{ Type Type }
	// OpaqueAttr is an attribute kind that ir has no use for (sparse tensors,
	// lists of types, kinds of the future): Raw belongs to the reader.
	OpaqueAttr struct{ Raw any }
)

func (Int) isAttr()         {}
func (Float) isAttr()       {}
func (String) isAttr()      {}
func (Ints) isAttr()        {}
func (Floats) isAttr()      {}
func (Strings) isAttr()     {}
func (TensorAttr) isAttr()  {}
func (TensorsAttr) isAttr() {}
func (GraphAttr) isAttr()   {}
func (GraphsAttr) isAttr()  {}
func (TypeAttr) isAttr()    {}
func (OpaqueAttr) isAttr()  {}
