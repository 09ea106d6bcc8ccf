package ops

import "slices"

// lastReads is the last link that reads each value, -1 for none.
func (b *boundChain) lastReads() []int {
	last := make([]int, len(b.values))
	for i := range last {
		last[i] = -1
	}
	for j, l := range b.Links {
		for _, v := range l.In {
			if v >= 0 {
				last[v] = j
			}
		}
	}
	return last
}

// layOut gives the values that stay inside buffers, which are used again once
// their last reader is through.
func (b *boundChain) layOut(elems int) {
	last := b.lastReads()
	free := map[int][]int{} // of each size
	next := b.inputs
	for j, l := range b.Links {
		for k := range l.Out {
			v := &b.values[next+k]
			if v.leaves >= 0 {
				continue
			}
			bytes := (v.dtype.Size(elems) + 63) &^ 63
			if from := b.inside(j, k, last); from >= 0 && b.values[from].dtype.Bits() == v.dtype.Bits() {
				v.buffer = b.values[from].buffer
				last[from] = -1 // handed over
			} else if spare := free[bytes]; len(spare) > 0 {
				v.buffer, free[bytes] = spare[len(spare)-1], spare[:len(spare)-1]
			} else {
				v.buffer = b.buffers
				b.buffers += bytes
			}
		}
		next += l.Out
		for i := b.inputs; i < next; i++ {
			if v := b.values[i]; v.leaves < 0 && last[i] == j {
				last[i] = -1
				bytes := (v.dtype.Size(elems) + 63) &^ 63
				free[bytes] = append(free[bytes], v.buffer)
			}
		}
	}
}

// inside is a value of a buffer that output k of link j may take over.
func (b *boundChain) inside(j, k int, last []int) int {
	for _, v := range b.Links[j].In {
		if v >= b.inputs && b.values[v].leaves < 0 && last[v] == j && b.offered(j, k, v) {
			return v
		}
	}
	return -1
}

// offer passes on which outputs may take the storage of which inputs.
func (b *boundChain) offer(p *Binder, in, out []Fact) {
	last := b.lastReads()
	next := b.inputs
	for j, l := range b.Links {
		for k := range l.Out {
			o := b.values[next+k].leaves
			if o < 0 {
				continue
			}
			for i, f := range in {
				if sameDims(f.Dims, out[o].Dims) && f.DType.Bits() == out[o].DType.Bits() &&
					(last[i] < j || last[i] == j && b.offered(j, k, i)) {
					p.InPlace(o, i)
				}
			}
		}
		next += l.Out
	}
}

// offered reports whether link j can put output k in place of the value v, and
// reads that once.
func (b *boundChain) offered(j, k, v int) bool {
	in := b.Links[j].In
	at := slices.Index(in, v)
	return !slices.Contains(in[at+1:], v) && slices.Contains(b.kinds[0].offers[j], InPlace{k, at})
}
