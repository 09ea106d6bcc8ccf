package cli_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/bonnx/bonnx/internal/cli"
	"github.com/bonnx/bonnx/internal/testutil"
	"github.com/bonnx/bonnx/internal/testutil/fixture"
)

// A field is one row of a table in docs/json.md.
type field struct {
	types    []string // of which a value has one
	optional bool     // left out sometimes
}

// A schema maps the paths of a command's report, such as targets[].node, to
// what docs/json.md says of them.
type schema map[string]field

// readSchemas reads the tables of docs/json.md by their headings.
func readSchemas(t *testing.T) map[string]schema {
	b, err := os.ReadFile(filepath.Join(testutil.ModuleRoot(t), "docs", "json.md"))
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]schema{}
	section := ""
	for line := range strings.Lines(string(b)) {
		line = strings.TrimSpace(line)
		if name, ok := strings.CutPrefix(line, "## "); ok {
			section = name
			all[section] = schema{}
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		path := strings.Trim(cells[0], " `")
		if !strings.HasPrefix(line, "| `") || len(cells) < 3 {
			continue
		}
		kind, when, _ := strings.Cut(strings.TrimSpace(cells[1]), ",")
		all[section][path] = field{strings.Split(kind, " or "), strings.Contains(when, "left out")}
	}
	return all
}

// check holds a value at path to the schema and marks what it saw.
func (s schema) check(t *testing.T, path string, v any, seen map[string]bool) {
	if path != "" {
		seen[path] = true
		f, ok := s[strings.TrimSuffix(path, "[]")]
		if strings.HasSuffix(path, "[]") {
			ok = true // elements are documented by their own fields
		}
		if !ok {
			t.Errorf("%q is not in docs/json.md", path)
			return
		}
		if got := kindOf(v); !strings.HasSuffix(path, "[]") && !slices.Contains(f.types, got) {
			t.Errorf("%q is a %s, documented as %s", path, got, strings.Join(f.types, " or "))
		}
	}
	switch v := v.(type) {
	case []any:
		for _, x := range v {
			s.check(t, path+"[]", x, seen)
		}
	case map[string]any:
		prefix := ""
		if path != "" {
			prefix = path + "."
		}
		for key, x := range v {
			s.check(t, prefix+key, x, seen)
		}
		for key, f := range s {
			name, inside := strings.CutPrefix(key, prefix)
			if inside && !strings.ContainsAny(name, ".") && !f.optional {
				if _, ok := v[name]; !ok {
					t.Errorf("%q is documented and not there", key)
				}
			}
		}
	}
}

func kindOf(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case bool:
		return "boolean"
	case float64:
		return "number"
	case string:
		return "string"
	case []any:
		return "array"
	}
	return "object"
}

// report runs bonnx and decodes the one line it prints on stdout.
func report(t *testing.T, want cli.Code, args ...string) any {
	t.Helper()
	var out, errw bytes.Buffer
	if got := cli.Main(append([]string{"bonnx"}, args...), strings.NewReader(""), &out, &errw); got != want {
		t.Fatalf("bonnx %s: status %d, want %d: %s", strings.Join(args, " "), got, want, errw.String())
	}
	if n := strings.Count(out.String(), "\n"); n != 1 {
		t.Fatalf("bonnx %s: %d lines on stdout, want one:\n%s", strings.Join(args, " "), n, out.String())
	}
	var v any
	if err := json.Unmarshal(out.Bytes(), &v); err != nil {
		t.Fatalf("%v: %s", err, out.String())
	}
	return v
}

// TestJSONSchemas holds the output of every command that has --json to
// docs/json.md: all that is documented is there, and nothing else, of the
// documented type; and each documented field is seen at least once.
func TestJSONSchemas(t *testing.T) {
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	for kind, name := range map[string]string{"tiny": "tiny.onnx", "tiny-other": "other.onnx", "mlp": "mlp.onnx",
		"unfit-layer": "unfit.onnx", "batch-1": "batch1.onnx", "unsupported": "odd.onnx", "windows": "w.npz", "classes": "c.npz"} {
		if err := fixture.Write(kind, file(name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(file("save.yaml"), []byte("modules_to_save: [lm_head]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	report(t, cli.Done, "inject", file("tiny.onnx"), "--rank", "4", "--init", "random", "--json", "-o", file("a.onnx"))
	type call struct {
		want cli.Code
		args []string
	}
	calls := map[string][]call{
		"inject": {
			{0, []string{file("tiny.onnx"), "--rank", "4", "-o", file("i.onnx")}},
			{0, []string{file("tiny.onnx"), "--rank", "4", "--config", file("save.yaml"), "-o", file("s.onnx")}},
		},
		"train": {
			{0, []string{file("a.onnx"), "--data", file("w.npz"), "--steps", "1", "-o", file("t1.onnx")}},
			{0, []string{file("a.onnx"), "--data", file("w.npz"), "--steps", "1", "--eval-split", "0.5", "-o", file("t2.onnx")}},
			{0, []string{file("tiny.onnx"), "--rank", "4", "--layers", "1", "--cache-prefix", "--data", file("w.npz"), "--steps", "1", "-o", file("t3.onnx")}},
		},
		"eval": {
			{0, []string{file("a.onnx"), "--data", file("w.npz")}},
			{0, []string{file("mlp.onnx"), "--data", file("c.npz"), "--task", "classification"}},
		},
		"compare": {
			{0, []string{file("tiny.onnx"), file("tiny.onnx")}},
			{1, []string{file("tiny.onnx"), file("other.onnx")}},
			{1, []string{file("mlp.onnx"), file("unfit.onnx")}},
		},
		"inspect": {{0, []string{file("a.onnx")}}, {0, []string{file("unfit.onnx")}}, {0, []string{file("batch1.onnx")}}},
		"inspect --explain": {
			{0, []string{file("batch1.onnx"), "--explain", "query"}},
			{0, []string{file("odd.onnx"), "--explain", "/lin1/Hardmax"}},
			{4, []string{file("batch1.onnx"), "--explain", "quary"}},
		},
		"inspect --support": {{0, []string{file("odd.onnx"), "--support"}}},
		"bench":             {{0, []string{file("tiny.onnx"), "--runs", "1"}}},
		"version":           {{0, nil}},
	}
	schemas := readSchemas(t)
	for section, s := range schemas {
		if calls[section] == nil {
			t.Errorf("docs/json.md has a section %q, which this test does not run", section)
		}
		t.Run(section, func(t *testing.T) {
			seen := map[string]bool{}
			for _, c := range calls[section] {
				s.check(t, "", report(t, c.want, append([]string{strings.Fields(section)[0], "--json"}, c.args...)...), seen)
			}
			for path := range s {
				if !seen[path] {
					t.Errorf("%q is documented and was never seen", path)
				}
			}
		})
	}
	for section := range calls {
		if schemas[section] == nil {
			t.Errorf("docs/json.md has no section %q", section)
		}
	}
}

// TestMetricsSchema holds the lines of --metrics to the examples in docs/json.md.
func TestMetricsSchema(t *testing.T) {
	dir := t.TempDir()
	for kind, name := range map[string]string{"tiny": "tiny.onnx", "windows": "w.npz"} {
		if err := fixture.Write(kind, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	metrics := filepath.Join(dir, "m.jsonl")
	report(t, cli.Done, "train", filepath.Join(dir, "tiny.onnx"), "--rank", "4", "--data", filepath.Join(dir, "w.npz"), "--steps", "1",
		"--eval-split", "0.5", "--metrics", metrics, "--json", "-o", filepath.Join(dir, "t.onnx"))
	b, err := os.ReadFile(metrics)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for line := range strings.Lines(string(b)) {
		got = append(got, keys(t, line))
	}
	if want := []string{"step eval_loss", "step epoch loss lr grad_norm tokens seconds", "step eval_loss"}; !slices.Equal(got, want) {
		t.Errorf("keys are %q, want %q", got, want)
	}
	doc, err := os.ReadFile(filepath.Join(testutil.ModuleRoot(t), "docs", "json.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`{"step":1,"epoch":1,"loss":`, `{"step":58,"eval_loss":2.8775}`} {
		if !bytes.Contains(doc, []byte(want)) {
			t.Errorf("docs/json.md lacks %s", want)
		}
	}
}

// keys are an object's keys in the order of the text.
func keys(t *testing.T, line string) string {
	d := json.NewDecoder(strings.NewReader(line))
	var list []string
	for i := 0; ; i++ {
		token, err := d.Token()
		if err != nil {
			break
		}
		if i%2 == 1 && d.More() {
			list = append(list, fmt.Sprint(token))
		}
	}
	return strings.Join(list, " ")
}
