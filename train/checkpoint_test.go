package train

import (
	"bytes"
	"errors"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/bonnx/bonnx/tensor"
	"github.com/bonnx/bonnx/tensor/npz"
)

func sample(step int) *Checkpoint {
	first := 0.1 + 0.2 // not short in decimal
	cfg := Default()
	cfg.Params, cfg.Seed = []string{"a.block", "b.block"}, math.MaxUint64
	return &Checkpoint{
		Step: step, Epoch: 2, NextSample: 16, Random: []byte{0, 1, 255}, Kernels: "avx2",
		Base: "sha256 1", Data: "d.npz", Config: cfg, Picked: Picks{CausalLM, 4, first}, LossFirst: &first, Losses: history{2, 3, []float64{first, 1e-300}}, Tokens: 1 << 40, Seconds: 1.5,
		Tensors: map[string]*tensor.Tensor{
			"a.block":   tensor.FromSlice([]float32{float32(math.Copysign(0, -1)), 1e-45}, 2),
			"a.block.m": tensor.Scalar(float32(step)),
		},
	}
}

func save(t *testing.T, dir string, steps ...int) {
	t.Helper()
	for _, s := range steps {
		if err := sample(s).Save(dir); err != nil {
			t.Fatal(err)
		}
	}
}

func files(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

func TestCheckpointRoundTrip(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "run")
	want := sample(3)
	if err := want.Save(dir); err != nil {
		t.Fatal(err)
	}
	got, notes, err := Latest(dir)
	if err != nil || len(notes) != 0 {
		t.Fatalf("got error %v, notes %q", err, notes)
	}
	if err := got.Fits(want.Tensors); err != nil {
		t.Error(err)
	}
	for name, w := range want.Tensors {
		if g := got.Tensors[name]; !g.Equal(w) {
			t.Errorf("%s: got %v, want %v bit for bit", name, g, w)
		}
	}
	got.Tensors, want.Tensors = nil, nil
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestCheckpointsKept(t *testing.T) {
	cases := []struct {
		name  string
		steps []int
		want  []string
	}{
		{"two", []int{1, 2, 3, 10}, []string{"checkpoint-00000003.npz", "checkpoint-00000010.npz"}},
		{"replaced", []int{5, 5}, []string{"checkpoint-00000005.npz"}},
		{"later ones left behind", []int{10, 20, 15}, []string{"checkpoint-00000010.npz", "checkpoint-00000015.npz"}},
		{"nine digits", []int{99999999, 100000000}, []string{"checkpoint-100000000.npz", "checkpoint-99999999.npz"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			save(t, dir, c.steps...)
			if got := files(t, dir); !slices.Equal(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
			last, _, err := Latest(dir)
			if err != nil || last.Step != c.steps[len(c.steps)-1] {
				t.Errorf("got checkpoint %+v (%v), want step %d", last, err, c.steps[len(c.steps)-1])
			}
		})
	}
}

func TestCheckpointLeavesOtherFiles(t *testing.T) {
	dir := t.TempDir()
	others := []string{"checkpoint-5.npz", "checkpoint-0000000x.npz", "notes.txt"}
	for _, name := range append(others, ".checkpoint-00000001.npz.0badcafe.bonnx-tmp") {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	save(t, dir, 1, 2, 3)
	want := append(others, "checkpoint-00000002.npz", "checkpoint-00000003.npz")
	slices.Sort(want)
	if got := files(t, dir); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestLatestFallsBack(t *testing.T) {
	damage := []struct {
		name string
		do   func([]byte) []byte
	}{
		{"empty", func([]byte) []byte { return nil }},
		{"cut", func(b []byte) []byte { return b[:len(b)/2] }},
		{"flipped bit", func(b []byte) []byte { b[bytes.Index(b, []byte("NUMPY"))+130] ^= 1; return b }},
		{"another step", func([]byte) []byte { b, _ := encode(sample(7)); return b }},
	}
	for _, c := range damage {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			save(t, dir, 1, 2)
			newest := CheckpointPath(dir, 2)
			b, err := os.ReadFile(newest)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(newest, c.do(b), 0o644); err != nil {
				t.Fatal(err)
			}
			got, notes, err := Latest(dir)
			if err != nil || got.Step != 1 {
				t.Fatalf("got %+v (%v), want step 1", got, err)
			}
			if len(notes) != 1 || !strings.Contains(notes[0], newest) {
				t.Errorf("got notes %q, want one that names %s", notes, newest)
			}
			if err := os.Remove(CheckpointPath(dir, 1)); err != nil {
				t.Fatal(err)
			}
			_, _, err = Latest(dir)
			wantError(t, err, "every checkpoint is damaged", newest)
			if errors.Is(err, ErrNoCheckpoint) {
				t.Errorf("got %v, want another error than ErrNoCheckpoint", err)
			}
		})
	}
}

// encode is the file that a checkpoint becomes.
func encode(c *Checkpoint) ([]byte, error) {
	dir, err := os.MkdirTemp("", "bonnx")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	if err := c.Save(dir); err != nil {
		return nil, err
	}
	return os.ReadFile(CheckpointPath(dir, c.Step))
}

func TestNoCheckpoint(t *testing.T) {
	dir := t.TempDir()
	for _, d := range []string{dir, filepath.Join(dir, "missing")} {
		if _, _, err := Latest(d); !errors.Is(err, ErrNoCheckpoint) {
			t.Errorf("%s: got %v, want ErrNoCheckpoint", d, err)
		}
		if err := CheckNew(d); err != nil {
			t.Errorf("%s: got %v, want it free for a new run", d, err)
		}
	}
	save(t, dir, 4)
	wantError(t, CheckNew(dir), dir, "checkpoint-00000004.npz")
}

func TestHostileCheckpoints(t *testing.T) {
	cases := []struct{ name, manifest, want string }{
		{"no manifest", "", "no entry bonnx.json"},
		{"no JSON", "{", "bonnx.json"},
		{"other JSON", "{}", "no version"},
		{"no checkpoint", `{"bonnx_checkpoint":1,"checkpoint":null}`, "missing or negative"},
		{"negative step", `{"bonnx_checkpoint":1,"checkpoint":{"step":-1}}`, "missing or negative"},
		{"unknown field", `{"bonnx_checkpoint":1,"checkpoint":{"steps":1}}`, "steps"},
		{"large step", `{"bonnx_checkpoint":1,"checkpoint":{"step":1e99}}`, "step"},
		{"losses of another run", `{"bonnx_checkpoint":2,"checkpoint":{"step":1,"losses":{"width":1,"steps":3,"sums":[1]}}}`, "losses"},
		{"newer", `{"bonnx_checkpoint":3,"other":1}`, "newer version"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			f := &npz.File{}
			if c.manifest != "" {
				if err := f.AddExtra("bonnx.json", []byte(c.manifest)); err != nil {
					t.Fatal(err)
				}
			}
			dir := t.TempDir()
			path := CheckpointPath(dir, 1)
			if err := f.WriteFile(path); err != nil {
				t.Fatal(err)
			}
			_, err := ReadCheckpoint(path)
			wantError(t, err, path, c.want)
			if _, _, err := Latest(dir); err == nil || errors.Is(err, ErrNoCheckpoint) {
				t.Errorf("latest: got %v, want an error for a damaged checkpoint", err)
			}
		})
	}
}

// A checkpoint of a newer version is work that must not be passed over.
func TestNewerVersionStops(t *testing.T) {
	dir := t.TempDir()
	save(t, dir, 1)
	f := &npz.File{}
	if err := errors.Join(f.AddExtra("bonnx.json", []byte(`{"bonnx_checkpoint":3}`)), f.WriteFile(CheckpointPath(dir, 2))); err != nil {
		t.Fatal(err)
	}
	_, _, err := Latest(dir)
	wantError(t, err, "newer version")
}

func TestSaveErrors(t *testing.T) {
	file := write(t, "file", "")
	wantError(t, sample(1).Save(file), "checkpoint:", file)
	bad := sample(1)
	bad.Config.LR = math.NaN()
	dir := t.TempDir()
	wantError(t, bad.Save(dir), "checkpoint:", "NaN")
	if got := files(t, dir); len(got) != 0 {
		t.Errorf("a failed save left %q", got)
	}
}

func TestFits(t *testing.T) {
	state := func(change func(map[string]*tensor.Tensor)) map[string]*tensor.Tensor {
		m := sample(3).Tensors
		change(m)
		return m
	}
	cases := []struct {
		name  string
		state map[string]*tensor.Tensor
		want  string // "" where it fits
	}{
		{"same", state(func(map[string]*tensor.Tensor) {}), ""},
		{"shape", state(func(m map[string]*tensor.Tensor) { m["a.block"] = tensor.New(tensor.Float32, 3) }), "float32[3]"},
		{"type", state(func(m map[string]*tensor.Tensor) { m["a.block"] = tensor.New(tensor.Float64, 2) }), "float64[2]"},
		{"one more", state(func(m map[string]*tensor.Tensor) { m["c"] = tensor.New(tensor.Float32) }), `no tensor "c"`},
		{"one less", state(func(m map[string]*tensor.Tensor) { delete(m, "a.block.m") }), `the model has no tensor "a.block.m"`},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			err := sample(3).Fits(c.state)
			if c.want != "" {
				wantError(t, err, "step 3", c.want)
			} else if err != nil {
				t.Errorf("got %v, want it to fit", err)
			}
		})
	}
}

func TestDiff(t *testing.T) {
	base := Default()
	base.Params = []string{"a", "b"}
	cases := []struct {
		name   string
		was    func(*Config)
		change func(*Config)
		want   []string // how each line starts
	}{
		{"same", nil, func(*Config) {}, nil},
		{"several", nil, func(c *Config) { c.LR = 1; c.BatchSize = 2 }, []string{"--batch-size (was 8, is 2)", "--lr (was 0.001, is 1)"}},
		{"betas", nil, func(c *Config) { c.Beta2 = 0.99 }, []string{"--betas (was 0.9,0.999, is 0.9,0.99)"}},
		{"named", nil, func(c *Config) { c.Logits = "y" }, []string{`--logits (was "", is y)`}},
		{"how it is watched", nil, func(c *Config) { c.Threads, c.EvalEvery, c.CheckpointEvery, c.Metrics, c.Resume = 4, 5, 6, "m", true }, nil},
		{"order of parameters", nil, func(c *Config) { c.Params = []string{"b", "a"} }, nil},
		{"parameters", nil, func(c *Config) { c.Params = []string{"a"} }, []string{"the trained parameters (were 2, are 1)"}},
		{"longer", nil, func(c *Config) { c.Epochs = 2 }, nil},
		{"shorter", func(c *Config) { c.Epochs = 2 }, func(c *Config) { c.Epochs = 1 }, []string{"--epochs (was 2, is 1)"}},
		{"longer on a slope", func(c *Config) { c.Schedule = "cosine" }, func(c *Config) { c.Epochs = 2 }, []string{"--epochs (was 1, is 2)"}},
		{"more steps", func(c *Config) { c.Steps = 5 }, func(c *Config) { c.Steps = 6 }, nil},
		{"fewer steps", func(c *Config) { c.Steps = 5 }, func(c *Config) { c.Steps = 4 }, []string{"--steps (was 5, is 4)"}},
		{"more steps on a slope", func(c *Config) { c.Steps, c.Schedule = 5, "linear" }, func(c *Config) { c.Steps = 6 }, []string{"--steps (was 5, is 6)"}},
		{"epochs do not count beside steps", func(c *Config) { c.Steps = 5 }, func(c *Config) { c.Epochs = 9 }, nil},
		{"steps for epochs", nil, func(c *Config) { c.Steps = 5 }, nil},
		{"epochs for steps", func(c *Config) { c.Steps = 5 }, func(c *Config) { c.Steps = 0 }, []string{"--steps (was 5, is 0)"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			was := base
			if c.was != nil {
				c.was(&was)
			}
			now := was
			c.change(&now)
			if got := Diff(was, now); !slices.Equal(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// A field added to Config is either compared or known not to matter.
func TestDiffKnowsEveryField(t *testing.T) {
	free := []string{"EvalEvery", "Checkpoint", "CheckpointEvery", "Resume", "Metrics", "Threads", "Overwrite", "Memory", "Logger", "Watcher", "Recompute", "CachePrefix", "CachePrefixLimit"}
	var walk func(v reflect.Value, index []int)
	walk = func(v reflect.Value, index []int) {
		for i := range v.NumField() {
			f, at := v.Type().Field(i), append(slices.Clone(index), i)
			if f.Anonymous {
				walk(v.Field(i), at)
				continue
			}
			was := Default()
			was.Schedule = "linear" // so that the length counts
			now := was
			other := reflect.ValueOf(&now).Elem().FieldByIndex(at)
			switch f.Type.Kind() {
			case reflect.String:
				other.SetString("another")
			case reflect.Bool:
				other.SetBool(!other.Bool())
			case reflect.Int:
				other.SetInt(other.Int() + 1)
			case reflect.Uint64:
				other.SetUint(other.Uint() + 1)
			case reflect.Float64:
				other.SetFloat(other.Float() + 1)
			case reflect.Map:
				other.Set(reflect.ValueOf(map[string]FeedRule{"x": feedOnes}))
			case reflect.Pointer:
				other.Set(reflect.ValueOf(slog.Default()))
			case reflect.Interface:
				other.Set(reflect.ValueOf(follow(Config{})))
			case reflect.Int64:
				other.SetInt(other.Int() + 1)
			case reflect.Slice:
				other.Set(reflect.ValueOf([]string{"another"}))
			default:
				t.Fatalf("field %s is %v, which this test cannot change", f.Name, f.Type)
			}
			if got, want := len(Diff(was, now)) > 0, !slices.Contains(free, f.Name); got != want {
				t.Errorf("field %s: got a difference %v, want %v", f.Name, got, want)
			}
		}
	}
	walk(reflect.ValueOf(Default()), nil)
}

func TestSame(t *testing.T) {
	c := sample(1)
	if err := c.Same(c.Config, "sha256 1", "d.npz", ""); err != nil {
		t.Errorf("got %v, want the same run", err)
	}
	other := c.Config
	other.LR = 1
	err := c.Same(other, "sha256 2", "e.npz", "f.npz")
	wantError(t, err, "--lr (was 0.001, is 1)", "the model (was sha256 1, is sha256 2)", "--data", "evaluation data")
	if !errors.Is(err, ErrConfigDiffers) {
		t.Errorf("got %v, want ErrConfigDiffers", err)
	}
}

func TestFileIdentity(t *testing.T) {
	a, err := FileIdentity(write(t, "a.txt", "abc"))
	want := "a.txt, 3 bytes, sha256 ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
	if err != nil || a != want {
		t.Errorf("got %q (%v), want %q", a, err, want)
	}
	if _, err := FileIdentity(t.TempDir()); err == nil {
		t.Error("got no error for a directory")
	}
}

func FuzzCheckpoint(f *testing.F) {
	b, err := encode(sample(1))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		file, err := npz.Read(bytes.NewReader(b), int64(len(b)), npz.Options{MaxBytes: 1 << 20, MaxEntries: 16})
		if err != nil {
			return
		}
		c, err := fromArchive(file)
		if err != nil {
			return
		}
		if c.Step < 0 || c.Fits(c.Tensors) != nil {
			t.Fatalf("accepted %+v", c)
		}
	})
}
