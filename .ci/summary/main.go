// Command summary reads `go test -json` from standard input, prints what
// plain `go test` prints, and keeps a tally over several runs.
//
//	go test -json ./... | go run .ci/summary/main.go run TALLY
//	go run .ci/summary/main.go total TALLY
//
// A test counts once over all runs: failed if it ever failed, else passed if
// it ever passed (skipped in one run and run in another is run), else skipped.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
)

type event struct {
	Action     string
	Package    string
	ImportPath string
	Test       string
	Output     string
}

// A tally is what is kept between runs.
type tally struct {
	Tests  map[string]string // "package test" -> pass, fail or skip
	Closed []string          // the closing line of every package and run
	Failed int               // packages that failed
}

var rank = map[string]int{"skip": 1, "pass": 2, "fail": 3}

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: summary run|total TALLY")
		os.Exit(2)
	}
	t := tally{Tests: map[string]string{}}
	if b, err := os.ReadFile(os.Args[2]); err == nil {
		if err := json.Unmarshal(b, &t); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	if os.Args[1] == "total" {
		os.Exit(t.total())
	}
	t.read()
	b, err := json.Marshal(t)
	if err == nil {
		err = os.WriteFile(os.Args[2], b, 0o644)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func (t *tally) read() {
	output := map[string][]string{}
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, 64<<20)
	for in.Scan() {
		var e event
		if json.Unmarshal(in.Bytes(), &e) != nil {
			fmt.Println(in.Text()) // what make and go say themselves
			continue
		}
		key := e.Package + " " + e.Test
		switch {
		case e.Action == "build-output":
			fmt.Print(e.Output)
		case e.Action == "output" && e.Test == "":
			t.closing(e.Output)
		case e.Action == "output":
			output[key] = append(output[key], e.Output)
		case rank[e.Action] > 0:
			if e.Test != "" && rank[e.Action] > rank[t.Tests[key]] {
				t.Tests[key] = e.Action
			}
			if e.Action == "fail" {
				fmt.Print(strings.Join(output[key], ""))
				if e.Test == "" {
					t.Failed++
				}
			}
			delete(output, key)
		}
	}
}

// closing prints what go test says about a package and keeps its last line.
func (t *tally) closing(line string) {
	if line == "PASS\n" {
		return
	}
	fmt.Print(line)
	for _, start := range []string{"ok  \t", "FAIL\t", "?   \t"} {
		if strings.HasPrefix(line, start) {
			t.Closed = append(t.Closed, strings.TrimSpace(line))
		}
	}
}

func (t *tally) total() int {
	for _, line := range t.Closed {
		fmt.Println(line)
	}
	count := map[string]int{}
	for _, name := range slices.Sorted(maps.Keys(t.Tests)) {
		outcome := t.Tests[name]
		count[outcome]++
		if outcome != "pass" {
			fmt.Printf("%s: %s\n", outcome, name)
		}
	}
	fmt.Printf("%d passed, %d failed, %d skipped\n", count["pass"], count["fail"], count["skip"])
	if count["fail"] > 0 || t.Failed > 0 || count["pass"] == 0 {
		return 1
	}
	return 0
}
