package train

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path"
	"strconv"
	"strings"
)

// batchSizes are what BatchSize is chosen from, largest first.
var batchSizes = []int{8, 4, 2, 1}

// defaultMemory is what a step may take where the system does not say how much
// is free.
const defaultMemory = 2 << 30

// chooseBatchSize takes the largest size whose plan for the longest samples
// fits the memory that may be used. Batches of a stream have their sizes.
func (l *loop) chooseBatchSize() error {
	from := l.data
	if !from.cut() && l.eval != nil {
		from = l.eval
	}
	if l.c.BatchSize > 0 || !from.cut() {
		return nil
	}
	budget := memoryBudget(l.c.Memory)
	var need int64
	var err error
	for _, n := range batchSizes {
		if need, err = l.bytesOf(from, n); err == nil && need <= budget {
			l.pickBatchSize(n, "a step takes %s of the %s that it may", mebibytes(need), mebibytes(budget))
			return nil
		}
	}
	if err != nil { // of a single sample
		return err
	}
	l.pickBatchSize(1, "a step takes %s, more than the %s that it should", mebibytes(need), mebibytes(budget))
	return nil
}

// bytesOf is what a batch of n takes.
func (l *loop) bytesOf(from Source, n int) (int64, error) {
	b, err := from.largest(n)
	if err != nil {
		return 0, err
	}
	return l.e.Bytes(b)
}

func (l *loop) pickBatchSize(n int, why string, args ...any) {
	l.c.BatchSize, l.sum.Picked.BatchSize = n, n
	l.w.Note(fmt.Sprintf("batch size %d: ", n) + fmt.Sprintf(why, args...))
}

// memoryBudget is the memory given, or half of what the system has free.
func memoryBudget(given int64) int64 {
	if given > 0 {
		return given
	}
	if free, ok := freeMemory(os.DirFS("/")); ok {
		return free / 2
	}
	return defaultMemory
}

func mebibytes(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }

// freeMemory is how many bytes a process can take before the system swaps or
// ends it, by the files that Linux has under root: what the kernel calls
// available, or less where a control group sets a limit. Not ok elsewhere.
func freeMemory(root fs.FS) (int64, bool) {
	free, ok := numberIn(root, "proc/meminfo", "MemAvailable:")
	if !ok {
		return 0, false
	}
	free *= 1 << 10 // it is in KiB
	groups, err := fs.ReadFile(root, "proc/self/cgroup")
	if err != nil {
		return free, true
	}
	for line := range strings.Lines(string(groups)) {
		// 0::/path for version 2, N:memory:/path for version 1.
		part := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(part) != 3 {
			continue
		}
		for _, v := range groupFiles {
			if v.controllers == part[1] {
				free = min(free, v.free(root, part[2]))
			}
		}
	}
	return max(free, 0), true
}

// memoryGroup is where a version of control groups keeps its files.
type memoryGroup struct {
	controllers, dir, limit, used, cache string
}

var groupFiles = []memoryGroup{
	{"", "sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"},
	{"memory", "sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"},
}

// free is what the group and those around it leave. Inside of a container the
// group's own path may not be there: the top is the container's then.
func (v memoryGroup) free(root fs.FS, group string) int64 {
	left := int64(math.MaxInt64)
	for dir := path.Join("/", group); ; dir = path.Dir(dir) {
		at := path.Join(v.dir, dir)
		limit, limited := numberIn(root, path.Join(at, v.limit), "")
		used, counted := numberIn(root, path.Join(at, v.used), "")
		if limited && counted {
			cache, _ := numberIn(root, path.Join(at, "memory.stat"), v.cache) // the kernel gives it up
			left = min(left, limit-used+cache)
		}
		if dir == "/" {
			return left
		}
	}
}

// numberIn is the number behind a word that starts a line; the file's first
// number where the word is "".
func numberIn(root fs.FS, name, word string) (int64, bool) {
	f, err := root.Open(name)
	if err != nil {
		return 0, false
	}
	defer f.Close()
	for in := bufio.NewScanner(f); in.Scan(); {
		words := strings.Fields(in.Text())
		if word != "" && (len(words) < 2 || words[0] != word) {
			continue
		}
		if word != "" {
			words = words[1:]
		}
		if len(words) == 0 {
			return 0, false
		}
		n, err := strconv.ParseInt(words[0], 10, 64)
		if errors.Is(err, strconv.ErrRange) {
			n, err = math.MaxInt64, nil
		}
		return n, err == nil
	}
	return 0, false
}
