package onnx

import (
	"cmp"
	"fmt"
	"math/bits"
	"path"
	"slices"
	"strings"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

const (
	// maxGap is the longest run of unused bytes that an external file keeps:
	// more than that is what a removed tensor left, not alignment.
	maxGap = 64 << 10
	// autoSpill is from what size tensors leave a message that would be too
	// big otherwise.
	autoSpill = 1 << 10
	// pageAlign is where large tensors start in a file that bonnx lays out,
	// so that runtimes can map them.
	pageAlign = 4 << 10
)

// place is where a tensor lies outside of the message.
type place struct {
	file   *outFile
	off, n int64
	from   *extRef // the bytes, where they come from an external file as they are
	data   ir.Data // else
}

// outFile is an external file to be written.
type outFile struct {
	loc           string
	src           *extFile // the file whose layout it takes over, or nil
	places        []*place
	floating      []*place // without a place of their own yet
	size          int64
	kept          bool // offsets, and what lies between tensors, are src's
	checksumStale bool
}

// layout decides for every tensor of a model whether it is inline, and if not
// where it goes.
type layout struct {
	srcBase, outBase string
	spill            int64 // tensors from this size on leave the message; 0: none
	files            []*outFile
	bySrc            map[*extFile]*outFile
	places           map[slotKey]*place
}

// planLayout keeps external data external, in the files and at the offsets
// where it was.
func planLayout(m *ir.Model, srcBase, outBase string, spill int64) *layout {
	l := &layout{srcBase: srcBase, outBase: outBase, spill: spill, bySrc: map[*extFile]*outFile{}, places: map[slotKey]*place{}}
	eachSlot(m, l.assign)
	l.rename()
	for _, f := range l.files {
		f.arrange()
	}
	return l
}

// eachSlot visits every tensor of a model.
func eachSlot(m *ir.Model, visit func(slot)) {
	attrs := func(list []*ir.Attr) {
		for _, a := range list {
			x, _ := a.Extra.(*attrExtra)
			same := x != nil && x.kind == kindOf(a.Value)
			switch v := a.Value.(type) {
			case ir.TensorAttr:
				visit((&encoder{}).attrSlot(a, 0, v.Data, x, same))
			case ir.TensorsAttr:
				for i, d := range v {
					visit((&encoder{}).attrSlot(a, i, d, x, same))
				}
			}
		}
	}
	m.Graphs(func(g *ir.Graph) bool {
		for _, v := range g.Initializers {
			switch d := v.Data.(type) {
			case nil:
			case *sparseData:
				for _, s := range d.slots(v.Name) {
					visit(s)
				}
			default:
				visit(initSlot(v))
			}
		}
		for n := range g.Nodes() {
			attrs(n.Attrs)
		}
		return true
	})
	for _, f := range m.Functions {
		attrs(f.Defaults)
	}
}

func (l *layout) assign(s slot) {
	d := s.data
	n := int64(d.DType().Size(d.Shape().Size()))
	if f, ok := d.(*fileData); ok && f.ext != nil {
		l.add(s, l.fileOf(f.ext.file), &place{off: f.ext.off, n: n, from: f.ext}, false)
		return
	}
	if d.DType() == tensor.String {
		return
	}
	if _, read := d.(*fileData); !read && s.head != nil {
		if was := l.wasExternal(s); was != nil {
			// A new tensor in the place of an external one stays in its file,
			// in its bytes where it has as many.
			l.add(s, l.fileOf(was.file), &place{off: was.off, n: n, data: d}, was.n != n)
			return
		}
	}
	if l.spill > 0 && n >= l.spill && s.spill {
		l.add(s, l.spillFile(), &place{n: n, data: d}, true)
	}
}

// wasExternal is where the tensor that was read from this slot lay.
func (l *layout) wasExternal(s slot) *extRef {
	v, ok := s.key.owner.(*ir.Value)
	if !ok {
		return nil
	}
	x, ok := v.Extra.(*valueExtra)
	if !ok || x.ext == nil {
		return nil
	}
	return x.ext
}

func (l *layout) add(s slot, f *outFile, p *place, floating bool) {
	p.file = f
	if floating {
		f.floating = append(f.floating, p)
	} else {
		f.places = append(f.places, p)
	}
	l.places[s.key] = p
}

func (l *layout) fileOf(src *extFile) *outFile {
	f := l.bySrc[src]
	if f == nil {
		f = &outFile{src: src, loc: adaptLocation(src.loc, l.srcBase, l.outBase)}
		l.bySrc[src] = f
		l.files = append(l.files, f)
	}
	return f
}

// spillFile is OUT.data, which the model may have already.
func (l *layout) spillFile() *outFile {
	loc := l.outBase + ".data"
	for _, f := range l.files {
		if f.loc == loc {
			return f
		}
	}
	f := &outFile{loc: loc}
	l.files = append(l.files, f)
	return f
}

// rename makes locations that came out alike different.
func (l *layout) rename() {
	seen := map[string]bool{l.outBase: true}
	for _, f := range l.files {
		loc := f.loc
		for i := 2; seen[f.loc]; i++ {
			f.loc = fmt.Sprintf("%s.%d", loc, i)
		}
		seen[f.loc] = true
	}
}

// adaptLocation gives the data of a model that is saved under another name
// another name too, so that models in one folder do not take each other's:
// the model's own name in it is replaced, or else the new one put in front.
func adaptLocation(loc, srcBase, outBase string) string {
	if srcBase == outBase {
		return loc
	}
	dir, base := path.Split(loc)
	stem := func(s string) string { return strings.TrimSuffix(s, path.Ext(s)) }
	switch {
	case srcBase != "" && strings.HasPrefix(base, srcBase):
		return dir + outBase + base[len(srcBase):]
	case stem(srcBase) != "" && strings.HasPrefix(base, stem(srcBase)):
		return dir + stem(outBase) + base[len(stem(srcBase)):]
	}
	return dir + stem(outBase) + "." + base
}

// arrange gives every tensor of the file its offset.
func (f *outFile) arrange() {
	slices.SortStableFunc(f.places, func(a, b *place) int {
		return cmp.Or(cmp.Compare(a.off, b.off), cmp.Compare(a.n, b.n))
	})
	f.evictOverlaps()
	f.kept = f.src != nil && f.gapsAreSmall()
	if f.kept {
		f.size = f.src.size
	} else {
		f.repack()
	}
	align := f.alignment()
	for _, p := range f.floating {
		p.off = alignUp(f.size, align)
		f.size = p.off + p.n
	}
	f.checksumStale = !f.kept || len(f.floating) > 0 || slices.ContainsFunc(f.places, func(p *place) bool { return p.data != nil })
	f.places = append(f.places, f.floating...)
	f.floating = nil
}

// evictOverlaps moves new tensors away whose bytes others use too (tied
// weights of which one was changed). Tensors as they were may overlap.
func (f *outFile) evictOverlaps() {
	overlaps := func(p *place) bool {
		return slices.ContainsFunc(f.places, func(q *place) bool {
			return q != p && q.off < p.off+p.n && p.off < q.off+q.n
		})
	}
	fresh := slices.ContainsFunc(f.places, func(p *place) bool { return p.data != nil })
	if !fresh {
		return
	}
	for i := 0; i < len(f.places); {
		if p := f.places[i]; p.data != nil && overlaps(p) {
			f.places = slices.Delete(f.places, i, i+1)
			f.floating = append(f.floating, p)
			continue
		}
		i++
	}
}

func (f *outFile) gapsAreSmall() bool {
	end := int64(0)
	for _, p := range f.places {
		if p.off-end > maxGap {
			return false
		}
		end = max(end, p.off+p.n)
	}
	return f.src.size-end <= maxGap
}

// repack puts the tensors one after the other, those of equal ranges once.
func (f *outFile) repack() {
	align := f.alignment()
	type rng struct{ off, n int64 }
	at := map[rng]int64{}
	end := int64(0)
	for _, p := range f.places {
		old := rng{p.off, p.n}
		if off, ok := at[old]; ok && p.data == nil {
			p.off = off
			continue
		}
		p.off = alignUp(end, align)
		end = p.off + p.n
		if p.data == nil {
			at[old] = p.off
		}
	}
	f.size = end
}

// alignment is what all offsets of the source have in common.
func (f *outFile) alignment() int64 {
	all := int64(0)
	for _, p := range f.places {
		if p.from != nil {
			all |= p.from.off
		}
	}
	if all == 0 {
		return pageAlign
	}
	return min(maxGap, max(16, int64(1)<<bits.TrailingZeros64(uint64(all))))
}

func alignUp(n, align int64) int64 { return (n + align - 1) / align * align }
