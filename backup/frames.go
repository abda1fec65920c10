package backup

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/lighter-k8s/lighter/store"
)

// The file, all integers big-endian:
//
//	"LIGHTER-BACKUP\x00\x01"
//	frame   kind:1  len(payload):4  payload  crc32c:4 (of all bytes before)
//
// in this order: the manifest (JSON), what is sealed (perhaps), the store's stream compressed with zstd in pieces, the
// summary (JSON), with which the file ends.
const (
	magic = "LIGHTER-BACKUP\x00\x01"

	frameManifest = 'M'
	frameSealed   = 'P'
	frameData     = 'D'
	frameSummary  = 'E'

	maxFrame = 1 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// frames writes a file. As an io.Writer it writes data.
type frames struct {
	w   *bufio.Writer
	sum uint32
}

func newFrames(w io.Writer) (*frames, error) {
	f := &frames{w: bufio.NewWriterSize(w, 64<<10)}
	return f, f.raw([]byte(magic))
}

func (f *frames) raw(p []byte) error {
	f.sum = crc32.Update(f.sum, castagnoli, p)
	if _, err := f.w.Write(p); err != nil {
		return fmt.Errorf("write backup: %w", err)
	}
	return nil
}

func (f *frames) write(kind byte, payload []byte) error {
	if len(payload) > maxFrame {
		return fmt.Errorf("write backup: a part has %d bytes", len(payload))
	}
	return errors.Join(f.raw(binary.BigEndian.AppendUint32([]byte{kind}, uint32(len(payload)))), f.raw(payload),
		f.raw(binary.BigEndian.AppendUint32(nil, f.sum)))
}

func (f *frames) Write(p []byte) (int, error) {
	for n := 0; n < len(p); n += maxFrame {
		if err := f.write(frameData, p[n:min(n+maxFrame, len(p))]); err != nil {
			return n, err
		}
	}
	return len(p), nil
}

func (f *frames) end(summary []byte) error {
	if err := f.write(frameSummary, summary); err != nil {
		return err
	}
	if err := f.w.Flush(); err != nil {
		return fmt.Errorf("write backup: %w", err)
	}
	return nil
}

// pieces reads a file.
type pieces struct {
	r   *bufio.Reader
	sum uint32
}

func newPieces(r io.Reader) (*pieces, error) {
	p := &pieces{r: bufio.NewReaderSize(r, 64<<10)}
	head, err := p.take(len(magic))
	if err != nil {
		return nil, err
	}
	if string(head) != magic {
		return nil, fmt.Errorf("%w: not a backup of Lighter", store.ErrCorrupt)
	}
	return p, nil
}

func (p *pieces) take(n int) ([]byte, error) {
	b := make([]byte, n)
	if _, err := io.ReadFull(p.r, b); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, fmt.Errorf("%w: the backup ends too early", store.ErrCorrupt)
		}
		return nil, fmt.Errorf("read backup: %w", err)
	}
	p.sum = crc32.Update(p.sum, castagnoli, b)
	return b, nil
}

// next gives the next frame, whose checksum was right.
func (p *pieces) next() (kind byte, payload []byte, err error) {
	head, err := p.take(5)
	if err != nil {
		return 0, nil, err
	}
	size := binary.BigEndian.Uint32(head[1:])
	if size > maxFrame {
		return 0, nil, fmt.Errorf("%w: impossible length in the backup", store.ErrCorrupt)
	}
	if payload, err = p.take(int(size)); err != nil {
		return 0, nil, err
	}
	want := p.sum
	sum, err := p.take(4)
	if err != nil {
		return 0, nil, err
	}
	if binary.BigEndian.Uint32(sum) != want {
		return 0, nil, fmt.Errorf("%w: a checksum of the backup is wrong", store.ErrCorrupt)
	}
	return head[0], payload, nil
}

// atEnd says whether nothing follows.
func (p *pieces) atEnd() error {
	if _, err := p.r.ReadByte(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: the backup goes on after its end", store.ErrCorrupt)
	}
	return nil
}
