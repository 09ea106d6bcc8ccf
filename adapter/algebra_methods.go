package adapter

// algebra is what a method can hold of others, exactly and not.
type algebra struct {
	// sizes are what the part's blocks tell of their weight, 0 where nothing.
	sizes func(p part) (in, out int)
	// least is the smallest rank, and mini rank, at which the method holds all
	// parts of all targets; 0 where there is none.
	least func(targets []*module) (rank, mini int)
	// holds reports whether blocks of d can be the sum of parts of these forms.
	holds func(d Dims, parts []form) bool
	// join writes that sum into blocks.
	join func(d Dims, scale float64, parts []part, blocks [][]float64)
	// fit writes the blocks whose delta on w (in, out) is closest to delta,
	// what the parts add.
	fit func(d Dims, w, delta []float64, parts []part, blocks [][]float64)
}

// algebras is the table of the methods' algebra.
var algebras = [...]algebra{
	Bone:     {boneSizes, boneLeast, boneHolds, boneJoin, boneFit},
	Bat:      {batSizes, batLeast, batHolds, batJoin, batFit},
	MiSS:     {boneSizes, boneLeast, boneHolds, boneJoin, boneFit},
	MiSSMini: {miniSizes, boneLeast, boneHolds, boneJoin, boneFit},
	LoRA:     {loraSizes, loraLeast, loraHolds, loraJoin, loraFit},
}

// periodic says that the delta is a block repeated: bone, miss and miss-mini.
func (f form) periodic() bool { return f.method != Bat && f.method != LoRA }

func boneSizes(p part) (in, out int) { return 0, p.layer.Blocks[0].Shape()[1] }

func miniSizes(part) (in, out int) { return 0, 0 }

func batSizes(p part) (in, out int) { return 0, p.layer.Blocks[0].Shape()[0] * p.rank }

func loraSizes(p part) (in, out int) {
	return p.layer.Blocks[0].Shape()[1], p.layer.Blocks[1].Shape()[0]
}

// boneLeast is the least common multiple of all ranks. Where that is larger
// than the input size, which is the same for all targets, it is this size: at
// that rank every row has its own, and nothing is left to repeat.
func boneLeast(targets []*module) (rank, mini int) {
	rank, mini = 1, 1
	in, same := targets[0].in, true
	for _, t := range targets {
		same = same && t.in == in && in > 0
		for _, p := range t.parts {
			if !p.periodic() {
				return 0, 0
			}
			rank = lcm(rank, p.rank)
			mini = lcm(mini, p.mini)
		}
	}
	if same && rank > in {
		rank = in
	}
	return rank, mini
}

// lcm is the least common multiple, 0 where one is 0, and past maxRank a number
// past maxRank.
func lcm(a, b int) int {
	if a == 0 || b == 0 {
		return 0
	}
	if n := a / gcd(a, b) * b; n <= maxRank {
		return n
	}
	return maxRank + 1
}

// boneHolds wants every block to repeat at a divisor of the rank, and of the
// width, of the new one. A rank of in rows repeats nothing and holds any.
func boneHolds(d Dims, parts []form) bool {
	width := form{mini: d.MiniRank}.width(d)
	for _, p := range parts {
		w := p.width(d)
		rows := p.rank > 0 && (d.Rank%p.rank == 0 || d.In > 0 && d.Rank >= d.In)
		if !p.periodic() || !rows || w == 0 || width%w != 0 {
			return false
		}
	}
	return true
}

// boneJoin tiles the blocks over the new one and sums them:
// D[l,j] = sum_i weight_i D_i[l mod r_i, j mod c_i].
func boneJoin(d Dims, _ float64, parts []part, blocks [][]float64) {
	width := len(blocks[0]) / d.Rank
	inParallel(d.Rank, func(lo, hi int) {
		for l := lo; l < hi; l++ {
			sumRow(blocks[0][l*width:(l+1)*width], l, parts)
		}
	})
}

// sumRow sets dst[j] to sum_i weight_i D_i[l mod r_i, j mod c_i].
func sumRow(dst []float64, l int, parts []part) {
	var sum exactSum
	for j := range dst {
		sum.reset()
		for _, p := range parts {
			w := len(p.blocks[0]) / p.rank
			sum.add(p.weight, p.blocks[0][l%p.rank*w+j%w])
		}
		dst[j] = sum.over(parts[0].over)
	}
}

// boneFit is the mean of delta over all that share an element of the block.
func boneFit(d Dims, _, delta []float64, _ []part, blocks [][]float64) {
	block := blocks[0]
	clear(block)
	width := len(block) / d.Rank
	for k := range d.In {
		row := block[k%d.Rank*width:][:width]
		for j, v := range delta[k*d.Out : (k+1)*d.Out] {
			row[j%width] += v
		}
	}
	for i := range block {
		rows := (d.In - i/width + d.Rank - 1) / d.Rank
		block[i] /= float64(rows * (d.Out / width))
	}
}

// batLeast is the rank that all share: B^T (W + I) is linear in B, so bat
// blocks of one rank add up as they are.
func batLeast(targets []*module) (rank, mini int) {
	first := targets[0].parts[0]
	for _, t := range targets {
		if !batHolds(Dims{Rank: first.rank}, forms(t.parts)) {
			return 0, 0
		}
	}
	return first.rank, 0
}

func batHolds(d Dims, parts []form) bool {
	for _, p := range parts {
		if p.method != Bat || p.rank != d.Rank {
			return false
		}
	}
	return true
}

func batJoin(_ Dims, _ float64, parts []part, blocks [][]float64) {
	var sum exactSum
	for i := range blocks[0] {
		sum.reset()
		for _, p := range parts {
			sum.add(p.weight, p.blocks[0][i])
		}
		blocks[0][i] = sum.over(parts[0].over)
	}
}

// batFit solves for every output block i the overdetermined
// (W_ji + I)^T B_i = Delta_ji^T of all input blocks j by least squares.
func batFit(d Dims, w, delta []float64, _ []part, blocks [][]float64) {
	r := d.Rank
	cols, rhs := make([][]float64, r), make([][]float64, r)
	for s := range r {
		cols[s], rhs[s] = make([]float64, d.In), make([]float64, d.In)
	}
	for i := range d.Out / r {
		for k := range d.In {
			j, s := k/r, k%r
			at := k*d.Out + i*r
			copy(cols[s][j*r:(j+1)*r], w[at:at+r])
			copy(rhs[s][j*r:(j+1)*r], delta[at:at+r])
			cols[s][j*r+s]++ // I
		}
		for p, b := range leastSquares(cols, rhs) {
			for s, v := range b {
				blocks[0][i*r*r+s*r+p] = v
			}
		}
	}
}

// loraLeast is the largest number of components that a target takes.
func loraLeast(targets []*module) (rank, mini int) {
	for _, t := range targets {
		n := components(forms(t.parts))
		if n == 0 {
			return 0, 0
		}
		rank = max(rank, n)
	}
	return rank, 0
}

// components is the rank at which lora holds the parts: those of every lora,
// and once for every rank of repeated blocks, which share their fold. It is 0
// where one of them is bat.
func components(parts []form) int {
	n := 0
	for i, p := range parts {
		switch {
		case p.method == Bat:
			return 0
		case p.method == LoRA, !foldBefore(parts[:i], p.rank):
			n += p.rank
		}
	}
	return n
}

func foldBefore(parts []form, rank int) bool {
	for _, p := range parts {
		if p.periodic() && p.rank == rank {
			return true
		}
	}
	return false
}

func loraHolds(d Dims, parts []form) bool {
	n := components(parts)
	return n > 0 && n <= d.Rank
}

// loraJoin lays the components after one another, their weights in B:
// of lora A_i and weight_i scale_i B_i, and of repeated blocks of a rank r the
// fold, A[l,k] = 1 where k mod r = l, and the transposed sum of the blocks.
// scale is the result's.
func loraJoin(d Dims, scale float64, parts []part, blocks [][]float64) {
	a, b := blocks[0], blocks[1]
	at := 0
	var sum exactSum
	for i, p := range parts {
		switch {
		case p.method == LoRA:
			copy(a[at*d.In:], p.blocks[0])
			f := p.weight
			if p.scale != scale {
				f *= p.scale // the result's is 1
			}
			for j := range d.Out {
				for l := range p.rank {
					sum.reset()
					sum.add(f, p.blocks[1][j*p.rank+l])
					b[j*d.Rank+at+l] = sum.over(p.over)
				}
			}
			at += p.rank
		case !foldBefore(forms(parts[:i]), p.rank):
			loraFold(d, at, p.rank, parts[i:], a, b)
			at += p.rank
		}
	}
}

// loraFold puts the repeated blocks of a rank at component at.
func loraFold(d Dims, at, rank int, parts []part, a, b []float64) {
	var same []part
	for _, p := range parts {
		if p.periodic() && p.rank == rank {
			same = append(same, p)
		}
	}
	row := make([]float64, d.Out)
	for l := range rank {
		sumRow(row, l, same)
		for j, v := range row {
			b[j*d.Rank+at+l] = v
		}
		for k := range d.In {
			a[(at+l)*d.In+k] = 0
			if k%rank == l {
				a[(at+l)*d.In+k] = 1
			}
		}
	}
}

// loraFit is the truncated singular value decomposition of delta (Eckart and
// Young). Components that vanish are left as they are.
func loraFit(d Dims, _, delta []float64, parts []part, blocks [][]float64) {
	u, v := lowRank(delta, d.In, d.Out, d.Rank, span(d, parts))
	for l := range u {
		copy(blocks[0][l*d.In:], u[l])
		for j, x := range v[l] {
			blocks[1][j*d.Rank+l] = x
		}
	}
}

// span are vectors of in elements that make up all columns of what the parts
// add: the A of the lora that holds them. It is nil where none does, or where
// there would be no fewer of them than columns.
func span(d Dims, parts []part) [][]float64 {
	d.Rank = components(forms(parts))
	if d.Rank == 0 || d.Rank >= min(d.In, d.Out) {
		return nil
	}
	a := make([]float64, d.Rank*d.In)
	loraJoin(d, 1, parts, [][]float64{a, make([]float64, d.Rank*d.Out)})
	out := make([][]float64, d.Rank)
	for l := range out {
		out[l] = a[l*d.In : (l+1)*d.In]
	}
	return out
}
