package runtime

// Steps are the steps of the last run, and how many of them find their shapes
// as they run.
func (s *Session) Steps() (all, free int) {
	for _, st := range s.last.plan.steps {
		if !st.view && st.run == nil {
			free++
		}
	}
	return len(s.last.plan.steps), free
}
