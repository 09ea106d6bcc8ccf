package npz_test

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/bonnx/bonnx/internal/testutil"
	"github.com/bonnx/bonnx/tensor"
	"github.com/bonnx/bonnx/tensor/npz"
)

func write(t *testing.T, f *npz.File) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := f.Write(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func read(b []byte, o npz.Options) (*npz.File, error) {
	return npz.Read(bytes.NewReader(b), int64(len(b)), o)
}

// TestRoundTripEveryType writes tensors of every type, of several ranks, and
// other entries, and reads the same back.
func TestRoundTripEveryType(t *testing.T) {
	f := &npz.File{}
	for d := tensor.Float32; d <= tensor.Int2; d++ {
		for _, shape := range [][]int{{}, {3}, {2, 3}, {0, 4}, {1, 1, 5}} {
			var x *tensor.Tensor
			switch {
			case d == tensor.String:
				x = tensor.New(d, shape...)
				for i := range x.Strings() {
					x.Strings()[i] = strings.Repeat("é", i)
				}
			case d.IsComplex():
				x = tensor.New(d, shape...)
				for i := range x.Bytes() {
					x.Bytes()[i] = byte(i % 60)
				}
			default:
				var err error
				if x, err = testutil.RandomInts(uint64(d), 0, 2, shape...).Cast(d); err != nil {
					t.Fatal(err)
				}
			}
			if err := f.Add("/layer."+d.String()+"/"+tensor.Shape(shape).String(), x); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := f.AddExtra("bonnx.json", []byte(`{"a":1}`)); err != nil {
		t.Fatal(err)
	}
	b := write(t, f)
	if !bytes.Equal(b, write(t, f)) {
		t.Error("two writes differ")
	}
	g, err := read(b, npz.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(f.Names(), g.Names()) {
		t.Errorf("names: got %v, want %v", g.Names(), f.Names())
	}
	for _, n := range f.Names() {
		if got, want := g.Get(n), f.Get(n); got == nil || !got.Equal(want) {
			t.Errorf("%s: got %v, want %v", n, got, want)
		}
	}
	if got, ok := g.Extra("bonnx.json"); !ok || string(got) != `{"a":1}` {
		t.Errorf("bonnx.json: got %q, %v", got, ok)
	}
	if got := g.ExtraNames(); !slices.Equal(got, []string{"bonnx.json"}) {
		t.Errorf("extra entries: got %v", got)
	}
}

// npy builds an array file by hand.
func npy(version byte, header string, data []byte) []byte {
	b := append([]byte("\x93NUMPY"), version, 0)
	if version == 1 {
		b = binary.LittleEndian.AppendUint16(b, uint16(len(header)))
	} else {
		b = binary.LittleEndian.AppendUint32(b, uint32(len(header)))
	}
	return append(append(b, header...), data...)
}

func TestReadArrayForms(t *testing.T) {
	f32 := tensor.FromSlice([]float32{1, 2, 3, 4, 5, 6}, 2, 3)
	fortran := tensor.FromSlice([]float32{1, 3, 5, 2, 4, 6}, 2, 3)
	var be []byte
	for _, v := range tensor.Data[float32](f32) {
		be = binary.BigEndian.AppendUint32(be, math.Float32bits(v))
	}
	c := tensor.FromSlice([]complex64{complex(1, 2)}, 1)
	for _, tc := range []struct {
		name    string
		version byte
		header  string
		data    []byte
		want    *tensor.Tensor
	}{
		{"version 1", 1, "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }  \n", f32.Bytes(), f32},
		{"version 2", 2, "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3)}\n", f32.Bytes(), f32},
		{"version 3, double quotes, other order", 3, `{"shape":(2,3), "fortran_order":False, "descr":"<f4"}`, f32.Bytes(), f32},
		{"fortran", 1, "{'descr': '<f4', 'fortran_order': True, 'shape': (2, 3), }", f32.Bytes(), fortran},
		{"big endian", 1, "{'descr': '>f4', 'fortran_order': False, 'shape': (2L, 3L), }", be, f32},
		{"big endian complex", 1, "{'descr': '>c8', 'fortran_order': False, 'shape': (1,), }", []byte{0x3f, 0x80, 0, 0, 0x40, 0, 0, 0}, c},
		{"bool of any byte", 1, "{'descr': '|b1', 'fortran_order': False, 'shape': (3,), }", []byte{0, 1, 7}, tensor.FromSlice([]bool{false, true, true}, 3)},
		{"scalar", 1, "{'descr': '<i8', 'fortran_order': False, 'shape': (), }", []byte{5, 0, 0, 0, 0, 0, 0, 0}, tensor.Scalar[int64](5)},
		{"byte strings", 1, "{'descr': '|S3', 'fortran_order': False, 'shape': (2,), }", []byte("ab\x00xyz"), tensor.FromStrings([]string{"ab", "xyz"}, 2)},
		{"unicode", 1, "{'descr': '>U2', 'fortran_order': False, 'shape': (1,), }", []byte{0, 0, 0, 'q', 0, 0, 0, 0}, tensor.FromStrings([]string{"q"}, 1)},
	} {
		got, err := npz.ReadArray(bytes.NewReader(npy(tc.version, tc.header, tc.data)), 1<<20)
		if err != nil {
			t.Errorf("%s: %v", tc.name, err)
		} else if !got.Equal(tc.want) {
			t.Errorf("%s: got %v, want %v", tc.name, got, tc.want)
		}
	}
}

func TestReadArrayRefuses(t *testing.T) {
	head := func(descr, shape string) string {
		return "{'descr': " + descr + ", 'fortran_order': False, 'shape': " + shape + ", }"
	}
	for _, tc := range []struct {
		name, header string
		data         []byte
		want         string
	}{
		{"pickle", head("'|O'", "(1,)"), nil, "pickled"},
		{"fields", head("[('a', '<f4')]", "(1,)"), nil, "named fields"},
		{"raw bytes", head("'|V2'", "(1,)"), []byte{0, 0}, "bfloat16"},
		{"unknown type", head("'<m8'", "(1,)"), nil, "unknown"},
		{"longer than the limit", head("'<f4'", "(1000000000,)"), nil, "limit"},
		{"overflow", head("'<f4'", "(4294967296, 4294967296, 4294967296)"), nil, "too large"},
		{"huge number", head("'<f4'", "(99999999999999999999999,)"), nil, "too large"},
		{"negative", head("'<f4'", "(-1,)"), nil, "unexpected"},
		{"truncated", head("'<f4'", "(4,)"), []byte{1, 2}, "truncated"},
		{"empty strings without end", head("'<U0'", "(100000000,)"), nil, "elements"},
		{"strings cost memory", head("'|S1'", "(1000000,)"), nil, "limit"},
		{"twice", "{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (), }", nil, "twice"},
		{"missing", "{'descr': '<f4'}", nil, "no fortran_order"},
		{"code", "{'descr': '<f4', 'fortran_order': False, 'shape': __import__('os')}", nil, "unexpected"},
		{"not a character", head("'<U1'", "(1,)"), []byte{0, 0, 0, 0x7f}, "character"},
		{"ranks", head("'<f4'", "("+strings.Repeat("1,", 65)+")"), nil, "dimensions"},
	} {
		_, err := npz.ReadArray(bytes.NewReader(npy(1, tc.header, tc.data)), 1<<20)
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: got error %v, want one with %q", tc.name, err, tc.want)
		}
	}
	for _, b := range [][]byte{nil, []byte("\x93NUMPY"), []byte("\x93NUMPY\x09\x00ab"), []byte("notnumpy"), npy(2, strings.Repeat(" ", 1<<16+1), nil)} {
		if _, err := npz.ReadArray(bytes.NewReader(b), 1<<20); err == nil {
			t.Errorf("%q: want an error", b[:min(len(b), 10)])
		}
	}
}

func zipOf(t *testing.T, method uint16, entries ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for i := 0; i < len(entries); i += 2 {
		w, err := z.CreateHeader(&zip.FileHeader{Name: entries[i], Method: method})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(entries[i+1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestReadHostileArchives(t *testing.T) {
	var one bytes.Buffer
	if err := npz.WriteArray(&one, tensor.Ints(1, 2, 3)); err != nil {
		t.Fatal(err)
	}
	arr := one.String()
	bomb := string(npy(1, "{'descr': '|u1', 'fortran_order': False, 'shape': (4000000,), }", make([]byte, 4000000)))
	for _, tc := range []struct {
		name string
		b    []byte
		want string
	}{
		{"no zip", []byte("hello"), "not a valid zip"},
		{"duplicate", zipOf(t, zip.Store, "a.npy", arr, "a.npy", arr), "twice"},
		{"dots", zipOf(t, zip.Store, "../a.npy", arr), ".."},
		{"bomb", zipOf(t, zip.Deflate, "a.npy", bomb), "limit"},
		{"bomb outside of arrays", zipOf(t, zip.Deflate, "a.json", bomb), "limit"},
		{"trailing", zipOf(t, zip.Store, "a.npy", arr+"x"), "follow"},
		{"cut off", zipOf(t, zip.Store, "a.npy", arr[:len(arr)-1]), "truncated"},
		{"types", zipOf(t, zip.Store, "a.npy", arr, "bonnx.dtypes.json", `{"a":"bfloat16"}`), "does not hold"},
		{"types that NumPy has", zipOf(t, zip.Store, "a.npy", arr, "bonnx.dtypes.json", `{"a":"uint64"}`), "lacks"},
		{"types, not JSON", zipOf(t, zip.Store, "bonnx.dtypes.json", `{`), "JSON"},
	} {
		_, err := read(tc.b, npz.Options{MaxBytes: 1 << 20})
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: got error %v, want one with %q", tc.name, err, tc.want)
		}
	}
	many := zipOf(t, zip.Store, "a", "", "b", "", "c", "")
	if _, err := read(many, npz.Options{MaxEntries: 2}); err == nil {
		t.Error("three entries pass a limit of two")
	}
	if f, err := read(zipOf(t, zip.Deflate, "a.npy", bomb), npz.Options{}); err != nil || f.Get("a").Size() != 4000000 {
		t.Errorf("within the default limit: %v", err)
	}
}

// TestChecksum flips a data bit of a written archive.
func TestChecksum(t *testing.T) {
	f := &npz.File{}
	if err := f.Add("x", testutil.Random(1, 64)); err != nil {
		t.Fatal(err)
	}
	b := write(t, f)
	b[200] ^= 1
	if _, err := read(b, npz.Options{}); err == nil || !strings.Contains(err.Error(), "checksum") {
		t.Errorf("got error %v, want a checksum error", err)
	}
}

// TestOverlap makes two directory entries share the same bytes.
func TestOverlap(t *testing.T) {
	b := zipOf(t, zip.Store, "a", strings.Repeat("x", 1000), "b", strings.Repeat("x", 1000))
	dir := bytes.Index(b, []byte("PK\x01\x02"))
	cut := bytes.LastIndex(b[:dir], []byte("PK\x03\x04"))
	out := append(slices.Clone(b[:cut]), b[dir:]...)
	end := bytes.LastIndex(out, []byte("PK\x05\x06"))
	binary.LittleEndian.PutUint32(out[end+16:], uint32(cut))
	second := bytes.LastIndex(out[:end], []byte("PK\x01\x02"))
	binary.LittleEndian.PutUint32(out[second+42:], 0)
	if _, err := read(out, npz.Options{}); err == nil || !strings.Contains(err.Error(), "overlap") {
		t.Errorf("got error %v, want overlapping entries refused", err)
	}
}

func TestAddRefuses(t *testing.T) {
	f := &npz.File{}
	x := tensor.Ints(1)
	if err := f.Add("x", x); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"", "x", "a/../b", "\xff", "a\x00"} {
		if err := f.Add(name, x); err == nil {
			t.Errorf("array name %q is taken", name)
		}
	}
	for _, name := range []string{"y.npy", "bonnx.dtypes.json", ""} {
		if err := f.AddExtra(name, nil); err == nil {
			t.Errorf("entry name %q is taken", name)
		}
	}
	if err := npz.WriteArray(&bytes.Buffer{}, tensor.New(tensor.BFloat16, 1)); err == nil {
		t.Error("a lone bfloat16 array is written")
	}
}

func TestFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.npz")
	f, err := npz.FromMap(map[string]*tensor.Tensor{"b": tensor.Ints(1), "a": tensor.Ints(2)})
	if err != nil {
		t.Fatal(err)
	}
	if err := f.WriteFile(path); err != nil {
		t.Fatal(err)
	}
	g, err := npz.ReadFile(path, npz.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(g.Names(), []string{"a", "b"}) || len(g.Map()) != 2 {
		t.Errorf("names: got %v, want a, b", g.Names())
	}
	if _, err := npz.ReadFile(path+".none", npz.Options{}); !os.IsNotExist(err) {
		t.Errorf("absent file: got %v", err)
	}
}

func TestGoldenArchives(t *testing.T) {
	f, err := npz.ReadFile(testutil.Shared(t, "golden/bone_24x32_r8_b2x3x4_nobias.npz"), npz.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if x := f.Get("x"); x == nil || !x.Shape().Equal(tensor.Shape{2, 3, 4, 24}) {
		t.Errorf("x: got %v, want float32[2 3 4 24]", x)
	}
}

func FuzzNpz(f *testing.F) {
	x := &npz.File{}
	_ = x.Add("a", tensor.Ints(1, 2))
	_ = x.Add("b", tensor.FromStrings([]string{"s", ""}, 2))
	_ = x.Add("c", tensor.New(tensor.BFloat16, 2))
	_ = x.AddExtra("bonnx.json", []byte("{}"))
	var b bytes.Buffer
	_ = x.Write(&b)
	f.Add(b.Bytes(), true)
	f.Add(npy(1, "{'descr': '>f4', 'fortran_order': True, 'shape': (1, 2), }", make([]byte, 8)), false)
	f.Fuzz(func(t *testing.T, b []byte, archive bool) {
		if !archive {
			_, _ = npz.ReadArray(bytes.NewReader(b), 1<<16)
			return
		}
		got, err := read(b, npz.Options{MaxBytes: 1 << 16})
		if err != nil {
			return
		}
		var w bytes.Buffer
		if err := got.Write(&w); err != nil {
			return // a string that is not UTF-8
		}
		again, err := read(w.Bytes(), npz.Options{})
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range got.Names() {
			if g := again.Get(n); g == nil || g.DType() != got.Get(n).DType() || !g.Shape().Equal(got.Get(n).Shape()) {
				t.Fatalf("%q: %v became %v", n, got.Get(n), g)
			}
		}
	})
}
