package h2_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"os"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// FuzzFrames: whatever a peer sends, as frames or as anything, the server neither panics nor keeps a goroutine, and the
// next client is answered.
func FuzzFrames(f *testing.F) {
	var head bytes.Buffer
	enc := hpack.NewEncoder(&head)
	for _, x := range [][2]string{{":method", "POST"}, {":scheme", "https"}, {":path", "/"}, {":authority", "x"}, {"content-length", "3"}} {
		if err := enc.WriteField(hpack.HeaderField{Name: x[0], Value: x[1]}); err != nil {
			f.Fatal(err)
		}
	}
	var b bytes.Buffer
	w := http2.NewFramer(&b, nil)
	w.AllowIllegalWrites = true
	for _, step := range []func() error{
		func() error {
			return w.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: head.Bytes(), EndHeaders: true})
		},
		func() error { return w.WriteData(1, false, []byte("ab")) },
		func() error { return w.WriteDataPadded(1, true, []byte("c"), make([]byte, 9)) },
		func() error {
			return w.WriteHeaders(http2.HeadersFrameParam{StreamID: 3, BlockFragment: head.Bytes()[:4]})
		},
		func() error { return w.WriteContinuation(3, true, head.Bytes()[4:]) },
		func() error { return w.WriteWindowUpdate(3, 1<<31-1) },
		func() error { return w.WriteRSTStream(3, http2.ErrCodeCancel) },
		func() error { return w.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1}) },
		func() error { return w.WritePing(false, [8]byte{}) },
		func() error { return w.WriteGoAway(0, http2.ErrCodeNo, nil) },
		func() error { return w.WritePriority(5, http2.PriorityParam{StreamDep: 5}) },
		func() error { return w.WriteRawFrame(0x77, 0xff, 9, []byte("?")) },
	} {
		if err := step(); err != nil {
			f.Fatal(err)
		}
		f.Add(b.Bytes(), false)
	}
	f.Add([]byte("\x01\x05\x01\x20\x00\x01\x01\x05\x08\x01\x04\x00\x03\x08\x00\x00\x04"), true)
	s := serve(f, false, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		_, _ = w.Write(make([]byte, n+10))
	}))
	f.Fuzz(func(t *testing.T, data []byte, framed bool) {
		p := dial(t, s)
		if framed { // each four bytes are a frame: kind, flags, stream and length; the payload is what stands there
			for len(data) >= 4 && p.WriteRawFrame(http2.FrameType(data[0]%11), http2.Flags(data[1]), uint32(data[2]%16), data[4:min(len(data), 4+int(data[3]))]) == nil {
				data = data[4:]
			}
		} else {
			_, _ = p.conn.Write(data) // the server may have had enough of it
		}
		_ = p.conn.CloseWrite()
		if _, err := io.Copy(io.Discard, p.conn); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error("the connection goes on")
		}
		_ = p.conn.Close()
		resp, err := s.Client().Get(s.URL)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
	})
}
