package main

import (
	"bufio"
	"context"
	"os"
	"runtime"
	"strconv"
	"strings"
)

// machine is where and with what something was measured.
type machine struct {
	CPU     string  `json:"cpu"`
	Cores   int     `json:"cores"`
	Memory  int64   `json:"memory_bytes"`
	Load    float64 `json:"load"` // average of the minute before
	OS      string  `json:"os"`
	Bonnx   string  `json:"bonnx"`
	Kernels string  `json:"kernels"`
	Go      string  `json:"go"`
	Node    string  `json:"node"`
	ORT     string  `json:"onnxruntime"`
}

// thisMachine is read from /proc where there is one; what is unknown is empty.
func thisMachine(ctx context.Context, o options) (machine, error) {
	m := machine{CPU: procField("/proc/cpuinfo", "model name"), Cores: runtime.NumCPU(), OS: runtime.GOOS + "/" + runtime.GOARCH}
	if kb, err := strconv.ParseInt(strings.TrimSuffix(procField("/proc/meminfo", "MemTotal"), " kB"), 10, 64); err == nil {
		m.Memory = kb * 1024
	}
	if b, err := os.ReadFile("/proc/loadavg"); err == nil {
		m.Load, _ = strconv.ParseFloat(strings.Fields(string(b))[0], 64)
	}
	var v struct{ Version, Commit, Go, Kernels string }
	if _, err := process(ctx, &v, o.bonnx, "version", "--json"); err != nil {
		return m, err
	}
	m.Bonnx, m.Go, m.Kernels = v.Version+" ("+v.Commit+")", v.Go, v.Kernels
	if o.ort == "" {
		return m, nil
	}
	var n struct{ Node, ONNXRuntime string }
	_, err := process(ctx, &n, "node", o.ort, "--version")
	m.Node, m.ORT = n.Node, n.ONNXRuntime
	return m, err
}

// procField is the first value of a file of "name : value" lines.
func procField(path, name string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if k, v, ok := strings.Cut(s.Text(), ":"); ok && strings.TrimSpace(k) == name {
			return strings.TrimSpace(v)
		}
	}
	return ""
}
