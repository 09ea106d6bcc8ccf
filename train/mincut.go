package train

// network is a flow network from node source to node sink, for its least cut
// (Dinic 1970, https://en.wikipedia.org/wiki/Dinic's_algorithm).
type network struct {
	arcs  []arc
	from  [][]int // arcs by the node that they leave
	level []int   // distance from the source, -1 where out of reach
	next  []int   // the arc of each node to try next
}

// arc is one direction of an edge; the other is its index with the last bit
// turned.
type arc struct {
	to   int
	left int64 // capacity that no flow takes yet
}

// The nodes that every network has.
const (
	source = iota
	sink
)

// unlimited is the capacity of an edge that no cut goes through.
const unlimited = int64(1) << 60

func newNetwork() *network { return &network{from: make([][]int, 2)} }

// node is a new node.
func (f *network) node() int {
	f.from = append(f.from, nil)
	return len(f.from) - 1
}

// edge has a cut pay capacity where it has from on the side of the source and
// to on the side of the sink.
func (f *network) edge(from, to int, capacity int64) {
	f.from[from] = append(f.from[from], len(f.arcs))
	f.from[to] = append(f.from[to], len(f.arcs)+1)
	f.arcs = append(f.arcs, arc{to, capacity}, arc{from, 0})
}

// cut is the least cut: which nodes are on the side of the source.
func (f *network) cut() []bool {
	for f.reach() {
		f.next = make([]int, len(f.from))
		for f.push(source, unlimited) > 0 {
		}
	}
	side := make([]bool, len(f.from))
	for i, l := range f.level {
		side[i] = l >= 0
	}
	return side
}

// reach finds the levels, and whether more can flow to the sink.
func (f *network) reach() bool {
	f.level = make([]int, len(f.from))
	for i := range f.level {
		f.level[i] = -1
	}
	f.level[source] = 0
	for todo := []int{source}; len(todo) > 0; todo = todo[1:] {
		for _, i := range f.from[todo[0]] {
			if a := f.arcs[i]; a.left > 0 && f.level[a.to] < 0 {
				f.level[a.to] = f.level[todo[0]] + 1
				todo = append(todo, a.to)
			}
		}
	}
	return f.level[sink] >= 0
}

// push sends up to most from a node to the sink, by levels.
func (f *network) push(n int, most int64) int64 {
	if n == sink {
		return most
	}
	for ; f.next[n] < len(f.from[n]); f.next[n]++ {
		i := f.from[n][f.next[n]]
		a := f.arcs[i]
		if a.left == 0 || f.level[a.to] != f.level[n]+1 {
			continue
		}
		if sent := f.push(a.to, min(most, a.left)); sent > 0 {
			f.arcs[i].left -= sent
			f.arcs[i^1].left += sent
			return sent
		}
	}
	return 0
}
