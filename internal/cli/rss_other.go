//go:build !linux && !darwin

package cli

import "runtime"

// peakRSS is what the Go runtime has taken from the system, in bytes: the
// nearest to resident memory that is to be had here.
func peakRSS() int64 {
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return int64(s.Sys)
}
