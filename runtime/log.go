package runtime

import (
	"errors"
	"io"
	"io/fs"
	"os"
)

// maxLog is what containerd's log and the one kept before it may each have, in bytes.
const maxLog = 8 << 20

// boundLog moves the content of a log above limit to <path>.1. The file itself stays, because its
// writer appends to it and is not asked; a line written between copy and truncation is lost.
func boundLog(path string, limit int64) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || info.Size() <= limit {
		return err
	}
	old, err := os.Create(path + ".1")
	if err != nil {
		return err
	}
	// Only the end: a burst may have made it far larger than limit.
	if _, err := f.Seek(-limit, io.SeekEnd); err != nil {
		return errors.Join(err, old.Close())
	}
	_, err = io.Copy(old, io.LimitReader(f, limit))
	return errors.Join(err, old.Close(), f.Truncate(0))
}
