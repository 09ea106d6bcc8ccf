package bonnx

import "github.com/bonnx/bonnx/internal/atomicfile"

// SetDisk puts fs in the place of the file system for what m writes.
func (m *Model) SetDisk(fs atomicfile.FS) { m.disk = fs }
