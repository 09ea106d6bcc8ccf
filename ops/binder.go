package ops

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"unsafe"

	"github.com/bonnx/bonnx/internal/par"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// Binder is what Bind may ask for. One Binder serves one node of one plan.
type Binder struct {
	// Cache keeps what is made of constant inputs, shared between plans.
	Cache *Cache
	// Threads is the number of threads that the step will have, at most; 0
	// means one.
	Threads int

	scratch int
	states  *[]func() any
	inPlace []InPlace
	unread  map[int]bool
}

// InPlace says that an output may take the storage of an input of the same
// byte size that nothing reads later.
type InPlace struct{ Out, In int }

// Slot is a part of the scratch memory.
type Slot struct{ off, size int }

// StateID names an object that each Session has of its own.
type StateID int

// NewBinder is for whoever plans: states collects the constructors of the
// plan's session objects.
func NewBinder(cache *Cache, states *[]func() any) *Binder {
	return &Binder{Cache: cache, states: states}
}

// Scratch asks for bytes of scratch memory, aligned to 64, whose content is
// undefined at each step.
func (b *Binder) Scratch(bytes int) Slot {
	s := Slot{b.scratch, bytes}
	b.scratch += (bytes + 63) &^ 63
	return s
}

// ScratchSize is how much the node asked for in all.
func (b *Binder) ScratchSize() int { return b.scratch }

// InPlace offers that output out takes over the storage of input in: the
// step must then be right whether or not they are the same memory.
func (b *Binder) InPlace(out, in int) { b.inPlace = append(b.inPlace, InPlace{out, in}) }

// InPlaceOffers are the offers made.
func (b *Binder) InPlaceOffers() []InPlace { return b.inPlace }

// Unread says that the step does not read input i: it has a constant in a form
// of its own, and the constant itself need not be kept.
func (b *Binder) Unread(i int) {
	if b.unread == nil {
		b.unread = map[int]bool{}
	}
	b.unread[i] = true
}

// Reads reports whether the step reads input i.
func (b *Binder) Reads(i int) bool { return !b.unread[i] }

// State asks for an object that make builds once per Session: the place for
// task structs that a step would otherwise allocate.
func (b *Binder) State(make func() any) StateID {
	*b.states = append(*b.states, make)
	return StateID(len(*b.states) - 1)
}

// Packed is what make builds from a constant, built once per constant and tag.
func (b *Binder) Packed(c ir.Data, tag string, make func(t *tensor.Tensor) any) (any, error) {
	if w, ok := c.(Recast); ok { // kept under the constant itself
		return b.packedCast(w, tag, make)
	}
	return b.Cache.get(packKey{c, tag}, func() (any, error) {
		t, err := origin(c).Tensor() // read anew: what was packed need not stay
		if err != nil {
			return nil, err
		}
		v := make(t)
		ir.Release(origin(c))
		return v, nil
	})
}

// packedBefore is what Packed made of a constant with that tag, nil for nothing.
func (b *Binder) packedBefore(c ir.Data, tag string) any {
	if w, ok := c.(Recast); ok {
		return b.packedBefore(w.Data, castTag(w, tag))
	}
	return b.Cache.peek(packKey{c, tag})
}

func castTag(w Recast, tag string) string { return fmt.Sprintf("%v %s", w.To, tag) }

func (b *Binder) packedCast(w Recast, tag string, make func(t *tensor.Tensor) any) (any, error) {
	var failed error
	v, err := b.Packed(w.Data, castTag(w, tag), func(t *tensor.Tensor) any {
		wide, err := t.Cast(w.To)
		if err != nil {
			failed = err
			return nil
		}
		return make(wide)
	})
	return v, errors.Join(err, failed)
}

// Recast is a constant seen in another dtype.
type Recast struct {
	ir.Data
	To tensor.DType
}

// DType implements ir.Data.
func (c Recast) DType() tensor.DType { return c.To }

// Release implements ir.Released.
func (c Recast) Release() { ir.Release(c.Data) }

// Tensor converts the value, anew in each call: what reads it keeps a form of
// its own.
func (c Recast) Tensor() (*tensor.Tensor, error) {
	t, err := c.Data.Tensor()
	if err != nil {
		return nil, err
	}
	return t.Cast(c.To)
}

// Tensor is a constant's value, read once.
func (c *Cache) Tensor(d ir.Data) (*tensor.Tensor, error) {
	v, err := c.get(packKey{d, "value"}, func() (any, error) { return d.Tensor() })
	if err != nil {
		return nil, err
	}
	return v.(*tensor.Tensor), nil
}

type packKey struct {
	data ir.Data
	tag  string
}

// Cache keeps packed constants; it is safe for concurrent use.
type Cache struct {
	// Narrow says that products leave weights in the few bits that they are
	// stored in.
	Narrow bool

	mu sync.Mutex
	m  map[packKey]any

	up    *Cache
	local func(ir.Data) bool
}

// Below is a Cache that keeps what local names itself, and leaves the rest to
// c: a plan's own constants go with the plan, a program's stay with it.
func (c *Cache) Below(local func(ir.Data) bool) *Cache { return &Cache{up: c, local: local} }

func (c *Cache) narrow() bool {
	if c.up != nil {
		return c.up.narrow()
	}
	return c.Narrow
}

func (c *Cache) get(k packKey, make func() (any, error)) (any, error) {
	if c.up != nil && !c.local(k.data) {
		return c.up.get(k, make)
	}
	k.data = origin(k.data)
	c.mu.Lock()
	defer c.mu.Unlock()
	if v, ok := c.m[k]; ok {
		return v, nil
	}
	v, err := make()
	if err != nil {
		return nil, err
	}
	if c.m == nil {
		c.m = map[packKey]any{}
	}
	c.m[k] = v
	return v, nil
}

// peek is what get kept, nil for nothing.
func (c *Cache) peek(k packKey) any {
	if c.up != nil && !c.local(k.data) {
		return c.up.peek(k)
	}
	k.data = origin(k.data)
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.m[k]
}

// Frame is one Session's scratch, random state and workers.
type Frame struct {
	// Pool runs kernels in parallel; nil runs them on the caller.
	Pool *par.Pool
	// Rand is the session's random stream.
	Rand *rand.Rand

	scratch []byte
	states  []any
	late    bool // the step was bound with values at hand
}

// NewFrame makes a frame with scratch memory and the states that a plan's
// binders asked for.
func NewFrame(pool *par.Pool, rnd *rand.Rand, scratch int, states []func() any) *Frame {
	f := &Frame{Pool: pool, Rand: rnd, states: make([]any, len(states))}
	f.scratch = tensor.New(tensor.Uint8, scratch+64).Bytes()
	for i, mk := range states {
		f.states[i] = mk()
	}
	return f
}

// Scratch is the memory of a slot.
func (f *Frame) Scratch(s Slot) []byte { return f.scratch[s.off : s.off+s.size : s.off+s.size] }

// ScratchOf is a slot's memory seen as a slice of T.
func ScratchOf[T tensor.Elem](f *Frame, s Slot) []T {
	b := f.Scratch(s)
	if len(b) == 0 {
		return nil
	}
	var z T
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(b))), len(b)/int(unsafe.Sizeof(z)))
}

// State is the session's object of a StateID.
func (f *Frame) State(id StateID) any { return f.states[id] }
