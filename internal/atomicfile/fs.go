package atomicfile

import (
	"io"
	"io/fs"
	"os"
)

// FS is what a Set asks of the operating system to change things. Looking
// (Stat) is not part of it.
type FS interface {
	// Create makes a new file for writing; an existing one is fs.ErrExist.
	Create(name string, perm fs.FileMode) (Handle, error)
	// Mkdir makes one directory.
	Mkdir(name string) error
	// Link gives a file a second name.
	Link(oldname, newname string) error
	// Rename moves a file, replacing what is at newname.
	Rename(oldname, newname string) error
	// Remove removes a file or an empty directory.
	Remove(name string) error
	// SyncDir makes a directory's entries durable.
	SyncDir(name string) error
}

// Handle is a file open for writing. Where it is an io.ReaderFrom, as
// *os.File is, copies use that.
type Handle interface {
	io.Writer
	Sync() error
	Close() error
}

// OS is the real file system.
type OS struct{}

// Create implements FS.
func (OS) Create(name string, perm fs.FileMode) (Handle, error) {
	return os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, perm)
}

// Mkdir implements FS.
func (OS) Mkdir(name string) error { return os.Mkdir(name, 0o777) }

// Link implements FS.
func (OS) Link(oldname, newname string) error { return os.Link(oldname, newname) }

// Rename implements FS.
func (OS) Rename(oldname, newname string) error { return os.Rename(oldname, newname) }

// Remove implements FS.
func (OS) Remove(name string) error { return os.Remove(name) }

// SyncDir implements FS. Systems that cannot sync a directory do without.
func (OS) SyncDir(name string) error { return syncDir(name) }
