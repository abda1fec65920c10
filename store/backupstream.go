package store

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// The backup stream, all integers big-endian:
//
//	header   "LIGHTER\x01"  revision:8  crc32c:4 (of the 16 bytes before)
//	entry    0x01  len(key):4  len(value):4  revision:8  key  value  crc32c:4
//	trailer  0x02  count:8  crc32c:4
//
// The checksum of an entry and of the trailer is over all bytes of the stream
// before it, so that a frame which was lost, doubled or moved is noticed too.
const (
	backupMagic   = "LIGHTER\x01"
	frameEntry    = 1
	frameTrailer  = 2
	maxBackupKey  = 1 << 16
	maxBackupData = 1 << 30
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// BackupWriter writes the portable stream that Backup promises.
type BackupWriter struct {
	w     *bufio.Writer
	sum   uint32
	count uint64
}

// NewBackupWriter starts a stream that shows the store at revision at.
func NewBackupWriter(w io.Writer, at Revision) (*BackupWriter, error) {
	b := &BackupWriter{w: bufio.NewWriterSize(w, 64<<10)}
	head := binary.BigEndian.AppendUint64([]byte(backupMagic), uint64(at))
	return b, b.frame(head)
}

// Write adds an entry.
func (b *BackupWriter) Write(e Entry) error {
	if len(e.Key) > maxBackupKey || len(e.Value) > maxBackupData {
		return fmt.Errorf("%s: too large for a backup", e.Key)
	}
	head := make([]byte, 1, 17)
	head[0] = frameEntry
	head = binary.BigEndian.AppendUint32(head, uint32(len(e.Key)))
	head = binary.BigEndian.AppendUint32(head, uint32(len(e.Value)))
	head = binary.BigEndian.AppendUint64(head, uint64(e.Revision))
	b.count++
	return b.frame(head, []byte(e.Key), e.Value)
}

// Close writes the trailer; without it the stream does not read back. It leaves the underlying writer open.
func (b *BackupWriter) Close() error {
	if err := b.frame(binary.BigEndian.AppendUint64([]byte{frameTrailer}, b.count)); err != nil {
		return err
	}
	return b.w.Flush()
}

func (b *BackupWriter) frame(parts ...[]byte) error {
	for _, p := range parts {
		b.sum = crc32.Update(b.sum, castagnoli, p)
		if _, err := b.w.Write(p); err != nil {
			return fmt.Errorf("write backup: %w", err)
		}
	}
	sum := binary.BigEndian.AppendUint32(nil, b.sum)
	b.sum = crc32.Update(b.sum, castagnoli, sum)
	if _, err := b.w.Write(sum); err != nil {
		return fmt.Errorf("write backup: %w", err)
	}
	return nil
}

// BackupReader reads what a BackupWriter wrote. Nothing of it may be trusted as
// a whole until Next has returned io.EOF.
type BackupReader struct {
	r     *bufio.Reader
	at    Revision
	sum   uint32
	count uint64
	done  bool
}

// NewBackupReader reads the header. Errors: ErrCorrupt.
func NewBackupReader(r io.Reader) (*BackupReader, error) {
	b := &BackupReader{r: bufio.NewReaderSize(r, 64<<10)}
	head, err := b.take(len(backupMagic) + 8)
	if err != nil {
		return nil, err
	}
	if !bytes.HasPrefix(head, []byte(backupMagic)) {
		return nil, fmt.Errorf("%w: not a backup of a store", ErrCorrupt)
	}
	b.at = Revision(binary.BigEndian.Uint64(head[len(backupMagic):]))
	if err := b.verify("header"); err != nil {
		return nil, err
	}
	return b, nil
}

// Revision is the one that the backup shows.
func (b *BackupReader) Revision() Revision { return b.at }

// Next returns the next entry; io.EOF after the last, when the trailer is right. Errors: ErrCorrupt.
func (b *BackupReader) Next() (Entry, error) {
	if b.done {
		return Entry{}, io.EOF
	}
	kind, err := b.take(1)
	if err != nil {
		return Entry{}, err
	}
	switch kind[0] {
	case frameEntry:
		return b.entry()
	case frameTrailer:
		count, err := b.take(8)
		if err != nil {
			return Entry{}, err
		}
		if binary.BigEndian.Uint64(count) != b.count {
			return Entry{}, fmt.Errorf("%w: the backup's count of entries is wrong", ErrCorrupt)
		}
		if err := b.verify("trailer"); err != nil {
			return Entry{}, err
		}
		if _, err := b.r.ReadByte(); !errors.Is(err, io.EOF) {
			return Entry{}, fmt.Errorf("%w: the backup goes on after its end", ErrCorrupt)
		}
		b.done = true
		return Entry{}, io.EOF
	}
	return Entry{}, fmt.Errorf("%w: unknown frame in the backup", ErrCorrupt)
}

func (b *BackupReader) entry() (Entry, error) {
	head, err := b.take(16)
	if err != nil {
		return Entry{}, err
	}
	keys, values := binary.BigEndian.Uint32(head), binary.BigEndian.Uint32(head[4:])
	if keys > maxBackupKey || values > maxBackupData {
		return Entry{}, fmt.Errorf("%w: impossible length in the backup", ErrCorrupt)
	}
	e := Entry{Revision: Revision(binary.BigEndian.Uint64(head[8:]))}
	key, err := b.take(int(keys))
	if err != nil {
		return Entry{}, err
	}
	e.Key = string(key)
	if e.Value, err = b.take(int(values)); err != nil {
		return Entry{}, err
	}
	b.count++
	return e, b.verify(e.Key)
}

// take reads n bytes into a slice of their own. It trusts n no further than the
// bytes that really come.
func (b *BackupReader) take(n int) ([]byte, error) {
	p := make([]byte, 0, min(n, 1<<20))
	for len(p) < n {
		old := len(p)
		p = append(p, make([]byte, min(n-old, 1<<20))...)
		if _, err := io.ReadFull(b.r, p[old:]); err != nil {
			return nil, readError(err)
		}
	}
	b.sum = crc32.Update(b.sum, castagnoli, p)
	return p, nil
}

func (b *BackupReader) verify(what string) error {
	want := b.sum
	p, err := b.take(4)
	if err != nil {
		return err
	}
	if binary.BigEndian.Uint32(p) != want {
		return fmt.Errorf("backup: %s: %w", what, ErrCorrupt)
	}
	return nil
}

func readError(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: the backup ends too early", ErrCorrupt)
	}
	return fmt.Errorf("read backup: %w", err)
}
