package backup

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"

	"github.com/lighter-k8s/lighter/store"
)

// Info is what a whole backup says of itself.
type Info struct {
	Manifest
	Summary
	SealedData []byte `json:"-"` // for Unseal
}

// Verify reads a backup to its end and checks all of it. Errors: store.ErrCorrupt.
func Verify(r io.Reader) (Info, error) {
	var entries, revision int64
	f, err := Open(r)
	if err != nil {
		return Info{}, err
	}
	defer f.Close()
	err = each(f, func(at store.Revision, e store.Entry) {
		if revision = int64(at); e.Key != "" {
			entries++
		}
	})
	if err != nil {
		return Info{}, err
	}
	info, err := f.End()
	if err == nil && (entries != info.Entries || revision != info.Revision) {
		err = fmt.Errorf("%w: the backup's summary is not of what is in it", store.ErrCorrupt)
	}
	return info, err
}

// Entries calls f with every entry of a backup, as it is stored. Nothing of them may be trusted before it has returned without an error.
func Entries(r io.Reader, f func(store.Entry)) error {
	b, err := Open(r)
	if err != nil {
		return err
	}
	defer b.Close()
	err = each(b, func(_ store.Revision, e store.Entry) {
		if e.Key != "" {
			f(e)
		}
	})
	if err != nil {
		return err
	}
	_, err = b.End()
	return err
}

// File is a backup that is being read. As an io.Reader it gives the store's stream, for a store's Restore.
type File struct {
	p    *pieces
	info Info
	z    *zstd.Decoder
	data []byte // of the frame that is being read
	done bool   // the summary was there
	err  error
}

// Open reads a backup's beginning. Errors: store.ErrCorrupt.
func Open(r io.Reader) (*File, error) {
	p, err := newPieces(r)
	if err != nil {
		return nil, err
	}
	f := &File{p: p}
	kind, payload, err := p.next()
	if err != nil {
		return nil, err
	}
	if kind != frameManifest || json.Unmarshal(payload, &f.info.Manifest) != nil {
		return nil, fmt.Errorf("%w: the backup has no manifest", store.ErrCorrupt)
	}
	f.z, err = zstd.NewReader(compressed{f}, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(8<<20), zstd.WithDecoderLowmem(true))
	return f, err
}

// Read gives the store's stream.
func (f *File) Read(b []byte) (int, error) {
	n, err := f.z.Read(b)
	if err != nil && err != io.EOF {
		if f.err == nil {
			f.err = fmt.Errorf("%w: %w", store.ErrCorrupt, err)
		}
		err = f.err
	}
	return n, err
}

// compressed gives the data of a file's frames.
type compressed struct{ f *File }

func (c compressed) Read(b []byte) (int, error) {
	f := c.f
	for len(f.data) == 0 {
		if f.done {
			return 0, io.EOF
		}
		kind, payload, err := f.p.next()
		if err == nil {
			switch kind {
			case frameData:
				f.data = payload
			case frameSealed:
				f.info.SealedData = payload
			case frameSummary:
				if err = f.p.atEnd(); err == nil && json.Unmarshal(payload, &f.info.Summary) != nil {
					err = fmt.Errorf("%w: the backup's summary is unreadable", store.ErrCorrupt)
				}
				f.done = err == nil
			default:
				err = fmt.Errorf("%w: unknown part of the backup", store.ErrCorrupt)
			}
		}
		if err != nil {
			f.err = err
			return 0, err
		}
	}
	n := copy(b, f.data)
	f.data = f.data[n:]
	return n, nil
}

// End says what the backup holds, after all of it was read.
func (f *File) End() (Info, error) {
	if n, err := io.Copy(io.Discard, f); err != nil || n > 0 {
		return Info{}, errors.Join(err, fmt.Errorf("%w: %d bytes follow what the backup holds", store.ErrCorrupt, n))
	}
	if !f.done {
		return Info{}, fmt.Errorf("%w: the backup has no summary", store.ErrCorrupt)
	}
	return f.info, nil
}

// Manifest is what the backup says at its beginning.
func (f *File) Manifest() Manifest { return f.info.Manifest }

// Close lets go of memory; it does not close the file below.
func (f *File) Close() { f.z.Close() }
