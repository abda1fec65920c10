package h2

import (
	"net/http"
	"strings"

	"golang.org/x/net/http/httpguts"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// block is a header block as it is decoded: RFC 9113, section 8.2 and 8.3. It is used again for each request.
type block struct {
	most      int // bytes of fields, as SETTINGS_MAX_HEADER_LIST_SIZE counts
	size      int
	tooLarge  bool
	malformed string // why, or ""

	method, scheme, authority, path string
	pseudo                          map[string]bool
	fields                          []hpack.HeaderField // the regular ones
}

func (b *block) reset() {
	clear(b.fields)
	*b = block{most: b.most, pseudo: b.pseudo, fields: b.fields[:0]}
	if b.pseudo == nil {
		b.pseudo = map[string]bool{}
	}
	clear(b.pseudo)
}

// emit takes in a field.
func (b *block) emit(f hpack.HeaderField) {
	if b.size += len(f.Name) + len(f.Value) + 32; b.size > b.most {
		b.tooLarge = true
		return
	}
	if b.malformed != "" {
		return
	}
	if strings.HasPrefix(f.Name, ":") {
		b.emitPseudo(f)
		return
	}
	switch {
	case !validName(f.Name):
		b.malformed = "field name"
	case !httpguts.ValidHeaderFieldValue(f.Value):
		b.malformed = "field value"
	default:
		switch f.Name {
		case "connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade":
			b.malformed = "connection-specific field"
		case "te":
			if f.Value != "trailers" {
				b.malformed = "te"
			}
		}
		b.fields = append(b.fields, f)
	}
}

func (b *block) emitPseudo(f hpack.HeaderField) {
	var into *string
	switch f.Name {
	case ":method":
		into = &b.method
	case ":scheme":
		into = &b.scheme
	case ":authority":
		into = &b.authority
	case ":path":
		into = &b.path
	}
	switch {
	case into == nil:
		b.malformed = "unknown pseudo-header"
	case len(b.fields) > 0:
		b.malformed = "pseudo-header behind a field"
	case b.pseudo[f.Name]:
		b.malformed = "pseudo-header twice"
	case !httpguts.ValidHeaderFieldValue(f.Value):
		b.malformed = "pseudo-header's value"
	default:
		b.pseudo[f.Name] = true
		*into = f.Value
	}
}

// validName: a token in lower case.
func validName(name string) bool {
	for i := range len(name) {
		if c := name[i]; 'A' <= c && c <= 'Z' || !httpguts.IsTokenRune(rune(c)) {
			return false
		}
	}
	return name != ""
}

// complete checks what a request must have, and returns why it is malformed.
func (b *block) complete() string {
	switch {
	case b.malformed != "":
		return b.malformed
	case b.method == "" || !validMethod(b.method):
		return ":method"
	case b.method == http.MethodConnect:
		if b.pseudo[":scheme"] || b.pseudo[":path"] || b.authority == "" {
			return "CONNECT"
		}
		return ""
	case b.scheme != "https" && b.scheme != "http":
		return ":scheme"
	case b.path == "" || b.path[0] != '/' && (b.path != "*" || b.method != http.MethodOptions):
		return ":path"
	}
	return ""
}

func validMethod(m string) bool {
	for i := range len(m) {
		if !httpguts.IsTokenRune(rune(m[i])) {
			return false
		}
	}
	return true
}

// readBlock decodes the header block that begins with f. Errors end the connection: what is left out of the decoder would
// make all that follows unreadable.
func (c *conn) readBlock(f *http2.HeadersFrame) error {
	b := &c.block
	b.reset()
	// A block that is too large is decoded to its end, but not without end.
	left, frames := 2*b.most, 4+b.most/1024
	part, last := f.HeaderBlockFragment(), f.HeadersEnded()
	for {
		if left, frames = left-len(part), frames-1; left < 0 || frames < 0 {
			return calm("header block without end")
		}
		if _, err := c.decoder.Write(part); err != nil {
			return connError{http2.ErrCodeCompression, "header block"}
		}
		if last {
			break
		}
		next, err := c.framer.ReadFrame()
		if err != nil {
			return err
		}
		more, ok := next.(*http2.ContinuationFrame)
		if !ok {
			return protocol("no CONTINUATION")
		}
		part, last = more.HeaderBlockFragment(), more.HeadersEnded()
	}
	if err := c.decoder.Close(); err != nil {
		return connError{http2.ErrCodeCompression, "header block"}
	}
	return nil
}
