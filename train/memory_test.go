package train

import (
	"context"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/bonnx/bonnx/internal/testmodel"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/tensor"
)

// sentences are samples of the given lengths for the tiny model.
func sentences(t *testing.T, lengths ...int) (*ir.Model, Data) {
	t.Helper()
	m, err := testmodel.Tiny.Model()
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for _, n := range lengths {
		text.WriteString(`{"input_ids":[1`)
		text.WriteString(strings.Repeat(",2", n))
		text.WriteString("]}\n")
	}
	d, err := Open(write(t, "d.jsonl", text.String()), Spec{Task: CausalLM, Inputs: []Port{{"input_ids", m.Graph.Inputs[0].Type}}})
	if err != nil {
		t.Fatal(err)
	}
	return m, d
}

// TestBatchSizeFromMemory: the largest size whose step fits is taken, for the
// longest samples that there are, and what was foretold is what is used.
func TestBatchSizeFromMemory(t *testing.T) {
	m, data := sentences(t, 3, 30, 5, 7, 4, 6, 8, 9, 3)
	c := Config{Params: []string{"lm_head.weight"}, LR: 1e-3, Threads: 1, Steps: 1}.WithDefaults()
	c.Task = CausalLM
	need := map[int]int64{}
	for _, n := range batchSizes {
		e, _, err := newEngine(m, ops.Standard(), c)
		if err != nil {
			t.Fatal(err)
		}
		b, err := Samples(data).largest(n)
		if err != nil || b.Feeds["input_ids"].Shape()[1] != 30 || b.Feeds["input_ids"].Shape()[0] != n {
			t.Fatalf("the largest batch of %d is %v (%v)", n, b.Feeds["input_ids"], err)
		}
		if need[n], err = e.Bytes(b); err != nil {
			t.Fatal(err)
		}
		if got := e.whole.session.ArenaBytes() + e.eval.session.ArenaBytes(); got != 0 {
			t.Errorf("asking took %d bytes", got)
		}
		mustStep(t, e, 1, b)
		if _, err := e.Eval(context.Background(), b); err != nil {
			t.Fatal(err)
		}
		used := int64(e.whole.session.MemoryBytes() + e.eval.session.MemoryBytes())
		if need[n] < used || need[n] > used+used/10+1<<14 { // the rest is parameters
			t.Errorf("batch of %d: %d bytes were foretold, values and scratch take %d", n, need[n], used)
		}
		e.Close()
	}
	if !(need[1] < need[2] && need[2] < need[4] && need[4] < need[8]) {
		t.Fatalf("bytes by batch size: %v", need)
	}
	for _, k := range []struct {
		memory int64
		want   int
		says   string
	}{
		{need[8], 8, "that it may"}, {need[8] - 1, 4, "that it may"}, {need[4], 4, "that it may"}, {need[4] - 1, 2, "that it may"},
		{need[2] - 1, 1, "that it may"}, {1, 1, "more than"}, {0, 8, "that it may"},
	} {
		c.Memory = k.memory
		r := &recorder{}
		c.Watcher = r
		s, err := Run(context.Background(), m, ops.Standard(), Samples(data), nil, c, Identity{})
		if err != nil {
			t.Fatal(err)
		}
		if s.Picked.BatchSize != k.want || len(r.notes) != 1 || !strings.Contains(r.notes[0], k.says) {
			t.Errorf("%d bytes: picked %+v, said %q; want %d, %q", k.memory, s.Picked, r.notes, k.want, k.says)
		}
	}
	tooLong, d := sentences(t, 40)
	if _, err := Run(context.Background(), tooLong, ops.Standard(), Samples(d), nil, c, Identity{}); err == nil {
		t.Error("samples longer than the model takes: got no error")
	}
}

// TestBatchSizeIsKept: the size that a run began with is that of its resumed
// parts, whatever is free by then.
func TestBatchSizeIsKept(t *testing.T) {
	data := points(t, 20)
	c := pointConfig()
	c.BatchSize, c.Epochs = 0, 2
	c.Checkpoint, c.Resume = t.TempDir(), true
	for _, k := range []struct {
		memory int64
		steps  int
		first  int // samples of the part's first step, of 8, 8, 4
	}{{1 << 40, 2, 8}, {1, 4, 4}} {
		c.Memory, c.Steps = k.memory, k.steps
		s, r, err := runPoints(context.Background(), Samples(data), Samples(points(t, 3)), c)
		if err != nil {
			t.Fatal(err)
		}
		if s.Picked.BatchSize != 8 || r.steps[0].Tokens != k.first || s.Steps != k.steps {
			t.Errorf("with %d bytes: picked %+v, steps %+v", k.memory, s.Picked, r.steps)
		}
	}
}

// TestFixedBatch: a model that fixes its batch gets batches of that size.
func TestFixedBatch(t *testing.T) {
	for _, n := range []int64{1, 4} {
		m := classifier(0, "")
		m.Graph.Inputs[0].Type = ir.Tensor(tensor.Float32, ir.Fixed(n), ir.Fixed(3))
		m.Graph.Outputs[0].Type = ir.Tensor(tensor.Float32, ir.Fixed(n), ir.Fixed(4))
		c := pointConfig()
		c.BatchSize = 0
		s, err := Run(context.Background(), m, ops.Standard(), Samples(points(t, 8)), nil, c, Identity{})
		if err != nil || s.Picked.BatchSize != int(n) {
			t.Errorf("a batch of %d: got %+v (%v)", n, s, err)
		}
	}
}

func TestFreeMemory(t *testing.T) {
	meminfo := "MemTotal:       24000000 kB\nMemFree:         1000000 kB\nMemAvailable:   16000000 kB\n"
	const free = 16000000 << 10
	for _, c := range []struct {
		name  string
		files map[string]string
		want  int64 // -1 where it cannot be told
	}{
		{"no such system", nil, -1},
		{"an old kernel", map[string]string{"proc/meminfo": "MemTotal: 5 kB\n"}, -1},
		{"no groups", map[string]string{"proc/meminfo": meminfo}, free},
		{"no limit", map[string]string{"proc/meminfo": meminfo, "proc/self/cgroup": "0::/user/a\n", "sys/fs/cgroup/user/a/memory.max": "max\n", "sys/fs/cgroup/user/a/memory.current": "5\n"}, free},
		{"a limit", map[string]string{"proc/meminfo": meminfo, "proc/self/cgroup": "0::/user/a\n", "sys/fs/cgroup/user/a/memory.max": "1000\n", "sys/fs/cgroup/user/a/memory.current": "700\n"}, 300},
		{"a limit and cache", map[string]string{"proc/meminfo": meminfo, "proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/memory.max": "1000\n",
			"sys/fs/cgroup/a/memory.current": "700\n", "sys/fs/cgroup/a/memory.stat": "anon 300\ninactive_file 400\n"}, 700},
		{"a limit around it", map[string]string{"proc/meminfo": meminfo, "proc/self/cgroup": "0::/user/a\n", "sys/fs/cgroup/user/memory.max": "1000\n", "sys/fs/cgroup/user/memory.current": "100\n"}, 900},
		{"inside of a container", map[string]string{"proc/meminfo": meminfo, "proc/self/cgroup": "0::/docker/xyz\n", "sys/fs/cgroup/memory.max": "1000\n", "sys/fs/cgroup/memory.current": "1100\n"}, 0},
		{"version 1", map[string]string{"proc/meminfo": meminfo, "proc/self/cgroup": "4:cpu:/\n3:memory:/a\n", "sys/fs/cgroup/memory/a/memory.limit_in_bytes": "1000\n",
			"sys/fs/cgroup/memory/a/memory.usage_in_bytes": "400\n", "sys/fs/cgroup/memory/a/memory.stat": "total_inactive_file 100\n"}, 700},
		{"version 1, no limit", map[string]string{"proc/meminfo": meminfo, "proc/self/cgroup": "3:memory:/\n", "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
			"sys/fs/cgroup/memory/memory.usage_in_bytes": "400\n"}, free},
		{"nonsense", map[string]string{"proc/meminfo": meminfo, "proc/self/cgroup": "::\n\x00\n0::/../../etc\n", "sys/fs/cgroup/memory.max": "\n", "sys/fs/cgroup/memory.current": "x\n"}, free},
	} {
		root := fstest.MapFS{}
		for name, text := range c.files {
			root[name] = &fstest.MapFile{Data: []byte(text)}
		}
		got, ok := freeMemory(root)
		if ok != (c.want >= 0) || ok && got != c.want {
			t.Errorf("%s: got %d %v, want %d", c.name, got, ok, c.want)
		}
	}
}
