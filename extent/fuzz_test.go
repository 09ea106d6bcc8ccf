package extent_test

import (
	"testing"

	"github.com/bonnx/bonnx/extent"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/onnx"
	"github.com/bonnx/bonnx/ops"
)

// No file makes DynamicBatch or FixedDims panic, nor leaves an invalid model.
func FuzzDynamicBatch(f *testing.F) {
	for _, c := range ruleCases {
		m, err := small(18, c.build)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(marshal(f, m))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := onnx.LoadBytes(b)
		if err != nil {
			return
		}
		_ = extent.FixedDims(m)
		if _, err := extent.DynamicBatch(m, ops.Standard()); err == nil {
			if err := ir.Verify(m); err != nil {
				t.Error(err)
			}
		}
	})
}
