package onnx_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/bonnx/bonnx/internal/testutil"
	"github.com/bonnx/bonnx/onnx"
	"github.com/bonnx/bonnx/onnx/internal/onnxpb"
)

// canon writes a message down with its fields sorted by number, the order
// within a number kept, nested messages likewise: equal texts are equal
// messages up to the order of different fields. It reads the wire itself; of
// the bindings it takes only which fields are messages.
func canon(b []byte, md protoreflect.MessageDescriptor) (string, error) {
	fields := map[protowire.Number][]string{}
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return "", protowire.ParseError(n)
		}
		k := protowire.ConsumeFieldValue(num, typ, b[n:])
		if k < 0 {
			return "", protowire.ParseError(k)
		}
		val := fmt.Sprintf("%d:%x", typ, b[n:n+k])
		if typ == protowire.BytesType {
			body, _ := protowire.ConsumeBytes(b[n:])
			val = fmt.Sprintf("%x", body)
			if md != nil {
				if fd := md.Fields().ByNumber(num); fd != nil && fd.Message() != nil {
					sub, err := canon(body, fd.Message())
					if err != nil {
						return "", err
					}
					val = "{" + sub + "}"
				}
			}
		}
		fields[num] = append(fields[num], val)
		b = b[n+k:]
	}
	var nums []protowire.Number
	for n := range fields {
		nums = append(nums, n)
	}
	slices.Sort(nums)
	var out strings.Builder
	for _, n := range nums {
		fmt.Fprintf(&out, "%d=%s;", n, strings.Join(fields[n], ","))
	}
	return out.String(), nil
}

// sameModel compares two files field by field and on the wire.
func sameModel(t *testing.T, name string, got, want []byte) {
	t.Helper()
	var g, w onnxpb.ModelProto
	if err := proto.Unmarshal(got, &g); err != nil {
		t.Errorf("%s: written model: %v", name, err)
		return
	}
	if err := proto.Unmarshal(want, &w); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if !proto.Equal(&g, &w) {
		t.Errorf("%s: the messages differ", name)
	}
	gc, err := canon(got, g.ProtoReflect().Descriptor())
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	wc, err := canon(want, w.ProtoReflect().Descriptor())
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if gc != wc {
		i := 0
		for i < min(len(gc), len(wc)) && gc[i] == wc[i] {
			i++
		}
		t.Errorf("%s: differ on the wire: got ...%.200s\nwant ...%.200s", name, gc[max(0, i-60):], wc[max(0, i-60):])
	}
}

// roundTrip loads path, as it is, saves it elsewhere and gives what was saved.
func roundTrip(t *testing.T, path string, o onnx.LoadOptions) ([]byte, error) {
	t.Helper()
	m, err := onnx.LoadWith(path, o)
	if err != nil {
		return nil, err
	}
	defer onnx.Close(m)
	out := filepath.Join(t.TempDir(), filepath.Base(path))
	if err := onnx.Save(out, m, onnx.SaveOptions{}); err != nil {
		return nil, err
	}
	b, err := os.ReadFile(out)
	if err != nil {
		return nil, err
	}
	mem, err := onnx.Marshal(m)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(mem, b) {
		t.Errorf("%s: Marshal and Save differ", path)
	}
	c, err := onnx.Marshal(m.Clone())
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(c, b) {
		t.Errorf("%s: the model and its clone differ", path)
	}
	return b, nil
}

func models(t *testing.T) []string {
	var list []string
	for _, glob := range []string{"models/*/*.onnx", "onnx-node-tests/node/*/model.onnx"} {
		parts := strings.SplitN(glob, "/", 2)
		found, err := filepath.Glob(filepath.Join(testutil.Shared(t, parts[0]), parts[1]))
		if err != nil || len(found) == 0 {
			t.Fatalf("%s: %d files, %v", glob, len(found), err)
		}
		list = append(list, found...)
	}
	return list
}

func TestRoundTripOfSharedModels(t *testing.T) {
	for i, path := range models(t) {
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		got, err := roundTrip(t, path, onnx.LoadOptions{NoMap: i%2 == 1})
		if err != nil {
			t.Errorf("%v", err)
			continue
		}
		sameModel(t, path, got, want)
	}
}
