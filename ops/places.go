package ops

import (
	"fmt"

	"github.com/bonnx/bonnx/internal/kernel"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// Operators that find each element by an index compute places first: the
// positions, in elements or blocks, of what is read or written.

// maxRank bounds the ranks of these operators.
const maxRank = 32

// elementPlaces are the places that an index tensor means along one axis of an
// array: index[i,j,k] with axis 1 means place (i, index[i,j,k], k).
type elementPlaces struct {
	index  indexReader
	shape  []int // of the index
	stride []int // of the array; 0 for the axis itself
	step   int   // the array's stride along the axis
	n      int   // the array's extent along the axis
}

func newElementPlaces(p *Binder, data, index tensor.Shape, axis int) (*elementPlaces, error) {
	a, err := axisIn(axis, len(data))
	if err != nil {
		return nil, err
	}
	if len(index) != len(data) || len(data) > maxRank {
		return nil, fmt.Errorf("index of shape %v for shape %v", index, data)
	}
	for i, d := range index {
		if i != a && d > data[i] {
			return nil, fmt.Errorf("index of shape %v for shape %v along axis %d", index, data, a)
		}
	}
	e := &elementPlaces{newIndexReader(p, index.Size()), index, data.Strides(), 0, data[a]}
	e.step, e.stride[a] = e.stride[a], 0
	return e, nil
}

// read is the places that t means.
func (e *elementPlaces) read(f *Frame, t *tensor.Tensor) ([]int64, error) {
	at, err := e.index.read(f, t, e.n)
	if err != nil {
		return nil, err
	}
	var count [maxRank]int
	base := 0
	for i, k := range at {
		at[i] = int64(base) + k*int64(e.step)
		for a := len(e.shape) - 1; a >= 0; a-- {
			count[a]++
			base += e.stride[a]
			if count[a] < e.shape[a] {
				break
			}
			base -= count[a] * e.stride[a]
			count[a] = 0
		}
	}
	return at, nil
}

// blockPlaces are the blocks that an index tensor (..., k) means in an array:
// each row of k numbers is a place in the k axes after batch ones, which the
// index has too.
type blockPlaces struct {
	index indexReader
	k     int
	dims  []int // the k axes
	each  int   // rows for each batch entry
	size  int   // blocks of each batch entry
	inner int   // elements of a block
	total int   // blocks
}

func newBlockPlaces(p *Binder, data, index tensor.Shape, batch int) (*blockPlaces, error) {
	if len(index) == 0 || batch < 0 || batch >= len(index) || batch > len(data) || batch+index[len(index)-1] > len(data) ||
		!data[:batch].Equal(index[:batch]) {
		return nil, fmt.Errorf("index of shape %v for shape %v with %d batch axes", index, data, batch)
	}
	k := index[len(index)-1]
	return &blockPlaces{
		index: newIndexReader(p, index.Size()), k: k, dims: data[batch : batch+k],
		each: max(1, index[batch:len(index)-1].Size()), size: data[batch : batch+k].Size(),
		inner: data[batch+k:].Size(), total: data[:batch+k].Size(),
	}, nil
}

// read is the blocks that t means.
func (b *blockPlaces) read(f *Frame, t *tensor.Tensor) ([]int64, error) {
	raw := b.index.raw(f, t)
	rows := t.Shape()[:t.Rank()-1].Size()
	if b.k == 0 { // each row is a whole batch entry
		raw = make([]int64, rows)
	}
	for i := range rows {
		place := int64(i / b.each)
		for j, n := range b.dims {
			v := raw[i*b.k+j]
			if v < 0 {
				v += int64(n)
			}
			if v < 0 || v >= int64(n) {
				return nil, fmt.Errorf("index %d is outside of extent %d", raw[i*b.k+j], n)
			}
			place = place*int64(n) + v
		}
		raw[i] = place // row i has been read, and i <= i*k
	}
	return raw[:rows], nil
}

// A scatterMode is what happens where an element is written: it is replaced,
// or combined with what is there.
type scatterMode string

const scatterSet scatterMode = "none"

func newScatterMode(a *Args) (scatterMode, error) {
	m := scatterMode(a.String("reduction", string(scatterSet)))
	if _, ok := combine[float32]()[m]; !ok && m != scatterSet {
		return m, fmt.Errorf("reduction %q", string(m))
	}
	return m, nil
}

// combine is the table of reductions.
func combine[T kernel.Numeric]() map[scatterMode]func(x, y T) T {
	return map[scatterMode]func(x, y T) T{
		"add": func(x, y T) T { return x + y },
		"mul": func(x, y T) T { return x * y },
		"max": func(x, y T) T { return max(x, y) },
		"min": func(x, y T) T { return min(x, y) },
	}
}

// bindScatter makes the step of a scatter: out is a copy of in[0], into which
// the blocks of in[2] are written at the places that in[1] means.
func bindScatter(p *Binder, o Op, mode scatterMode, inner int, places func(*Frame, *tensor.Tensor) ([]int64, error), in, out []Fact) (Step, error) {
	p.InPlace(0, 0)
	if mode == scatterSet {
		m := moverFor(in[0].DType)
		return func(f *Frame, in, out []*tensor.Tensor) error {
			at, err := places(f, in[1])
			if err != nil {
				return err
			}
			copyTensor(out[0], in[0])
			m.scatter(inner, out[0], in[2], at)
			return nil
		}, nil
	}
	r := scatterReduce{mode, inner, places}
	return bindTyped(p, o, []typedStep{
		scatterStep[float32](r), scatterStep[float64](r), scatterStep[int64](r), scatterStep[int32](r), scatterStep[int16](r),
		scatterStep[int8](r), scatterStep[uint64](r), scatterStep[uint32](r), scatterStep[uint16](r), scatterStep[uint8](r),
	}, in, out)
}

type scatterReduce struct {
	mode   scatterMode
	inner  int
	places func(*Frame, *tensor.Tensor) ([]int64, error)
}

func scatterStep[T kernel.Numeric](r scatterReduce) typedStep {
	f := combine[T]()[r.mode]
	return typedStep{tensor.DTypeOf[T](), func(fr *Frame, in, out []*tensor.Tensor) error {
		at, err := r.places(fr, in[1])
		if err != nil {
			return err
		}
		copyTensor(out[0], in[0])
		dst, src := tensor.Data[T](out[0]), tensor.Data[T](in[2])
		for i, place := range at {
			d := dst[int(place)*r.inner:][:r.inner]
			for j, v := range src[i*r.inner:][:r.inner] {
				d[j] = f(d[j], v)
			}
		}
		return nil
	}}
}

// gradScatter is the gradient of both scatters: take reads the places from a
// tensor, put writes them.
func gradScatter(b *GradBuilder, mode scatterMode, take func(x *ir.Value) *ir.Value, put func(x, updates *ir.Value) *ir.Value) error {
	if mode != scatterSet && mode != "add" {
		return fmt.Errorf("reduction %q has no gradient", string(mode))
	}
	dy := b.Grad(0)
	if b.Needs(2) {
		b.Set(2, take(dy))
	}
	switch {
	case !b.Needs(0):
	case mode == scatterSet:
		b.Set(0, put(dy, b.ZerosLike(b.In(2))))
	default:
		b.Set(0, dy)
	}
	return nil
}
