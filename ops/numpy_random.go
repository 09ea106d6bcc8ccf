package ops

// mt19937 is the Mersenne Twister (Matsumoto and Nishimura, 1998) as NumPy's
// legacy generator seeds and reads it: operators with a seed draw the numbers
// that the reference implementation draws.
type mt19937 struct {
	state [624]uint32
	at    int
}

// seed starts the stream anew.
func (m *mt19937) seed(s uint32) {
	for i := range m.state {
		m.state[i] = s
		s = 1812433253*(s^s>>30) + uint32(i) + 1
	}
	m.at = len(m.state)
}

func (m *mt19937) next() uint32 {
	if m.at == len(m.state) {
		m.refill()
	}
	y := m.state[m.at]
	m.at++
	y ^= y >> 11
	y ^= y << 7 & 0x9d2c5680
	y ^= y << 15 & 0xefc60000
	return y ^ y>>18
}

func (m *mt19937) refill() {
	n := len(m.state)
	for i := range m.state {
		y := m.state[i]&0x80000000 | m.state[(i+1)%n]&0x7fffffff
		m.state[i] = m.state[(i+397)%n] ^ y>>1 ^ y&1*0x9908b0df
	}
	m.at = 0
}

// Float64 is the next number of [0, 1), of 53 bits.
func (m *mt19937) Float64() float64 {
	a, b := m.next()>>5, m.next()>>6
	return (float64(a)*(1<<26) + float64(b)) / (1 << 53)
}
