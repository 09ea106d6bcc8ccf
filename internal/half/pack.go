package half

// Get is element i of elements of the given width (2 or 4 bits) packed into b
// with the first element in the low bits.
func Get(b []byte, bits, i int) uint8 {
	per := 8 / bits
	return b[i/per] >> (i % per * bits) & (1<<bits - 1)
}

// Put sets element i to the low bits of v, leaving its neighbours alone.
func Put(b []byte, bits, i int, v uint8) {
	per := 8 / bits
	shift := i % per * bits
	mask := uint8(1<<bits-1) << shift
	b[i/per] = b[i/per]&^mask | v<<shift&mask
}

// SignExtend reads the low bits of u as a two's complement number.
func SignExtend(u uint8, bits int) int8 {
	shift := 8 - bits
	return int8(u<<shift) >> shift
}

// Unpack sets dst[i] to element i of src, for all of dst.
func Unpack(dst []uint8, src []byte, bits int) {
	if bits == 4 {
		n := len(dst) &^ 1
		for i := 0; i < n; i += 2 {
			b := src[i/2]
			dst[i], dst[i+1] = b&0xf, b>>4
		}
		if n < len(dst) {
			dst[n] = src[n/2] & 0xf
		}
		return
	}
	for i := range dst {
		dst[i] = Get(src, bits, i)
	}
}

// UnpackSigned is Unpack of two's complement elements.
func UnpackSigned(dst []int8, src []byte, bits int) {
	for i := range dst {
		dst[i] = SignExtend(Get(src, bits, i), bits)
	}
}

// Pack writes the low bits of every element of src to dst, the last byte
// padded with zeros.
func Pack(dst []byte, src []uint8, bits int) {
	per := 8 / bits
	clear(dst[:(len(src)+per-1)/per])
	for i, v := range src {
		dst[i/per] |= v & (1<<bits - 1) << (i % per * bits)
	}
}
