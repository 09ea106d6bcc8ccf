package train

// history is the course of a run's loss in bounded memory: sums over stretches
// of Width steps, which double whenever there are maxHistory of them.
type history struct {
	Width int       `json:"width"` // steps of a stretch; the last may have fewer
	Steps int       `json:"steps"` // in all
	Sums  []float64 `json:"sums"`
}

const maxHistory = 256 // even

// add appends the loss of one step.
func (h *history) add(loss float64) {
	h.Width = max(h.Width, 1)
	if h.Steps == h.Width*len(h.Sums) {
		if len(h.Sums) == maxHistory {
			for i := range maxHistory / 2 {
				h.Sums[i] = h.Sums[2*i] + h.Sums[2*i+1]
			}
			h.Sums, h.Width = h.Sums[:maxHistory/2], 2*h.Width
		}
		h.Sums = append(h.Sums, 0)
	}
	h.Sums[len(h.Sums)-1] += loss
	h.Steps++
}

// tenths are the mean losses of the first and of the last tenth of the steps,
// in whole stretches; not ok with fewer than two.
func (h *history) tenths() (first, last float64, ok bool) {
	n := len(h.Sums)
	if n < 2 {
		return 0, 0, false
	}
	k := max(1, n/10)
	for i := range k {
		first += h.Sums[i]
		last += h.Sums[n-k+i]
	}
	return first / float64(k*h.Width), last / float64(h.Steps-(n-k)*h.Width), true
}

// fits reports whether h could have come from add.
func (h *history) fits() bool {
	n := len(h.Sums)
	return n == 0 && h.Steps == 0 || n <= maxHistory && h.Width > 0 && h.Steps <= n*h.Width && h.Steps > (n-1)*h.Width
}
