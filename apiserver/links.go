package apiserver

import (
	"bytes"
	"compress/gzip"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"golang.org/x/net/html"
)

// links rewrites what a proxied server answers so that links to paths of its own lead through the
// proxy again: Location headers and the URLs in HTML. Source: Kubernetes documentation, Access Services Running on Clusters.
type links struct {
	prefix string // path of the proxy subresource, without a slash at the end
	host   string // of the proxied server
}

// urlAttributes are the attributes that hold one URL. Source: HTML standard, index of attributes.
var urlAttributes = map[string]bool{"action": true, "cite": true, "data": true, "formaction": true, "href": true, "poster": true, "src": true}

// target gives the link as the client has to write it.
func (l links) target(link string) string {
	u, err := url.Parse(link)
	if err != nil || u.Host != "" && u.Host != l.host || !strings.HasPrefix(u.Path, "/") || strings.HasPrefix(u.Path, l.prefix+"/") {
		return link
	}
	u.Scheme, u.Host, u.RawPath, u.Path = "", "", "", l.prefix+u.Path
	return u.String()
}

// rewrite changes the answer in place. HTML in encodings other than gzip stays as it is.
func (l links) rewrite(res *http.Response) error {
	if to := res.Header.Get("Location"); to != "" {
		res.Header.Set("Location", l.target(to))
	}
	encoding := res.Header.Get("Content-Encoding")
	media, _, err := mime.ParseMediaType(res.Header.Get("Content-Type"))
	if err != nil || media != "text/html" || encoding != "" && encoding != "gzip" || res.Body == http.NoBody || res.Request.Method == http.MethodHead {
		return nil
	}
	var from io.Reader = res.Body
	if encoding == "gzip" {
		if from, err = gzip.NewReader(res.Body); err != nil {
			return err
		}
	}
	text, err := l.page(from)
	if err != nil {
		return err
	}
	if err := res.Body.Close(); err != nil {
		return err
	}
	res.Header.Del("Content-Encoding")
	res.Header.Set("Content-Length", strconv.Itoa(len(text)))
	res.ContentLength, res.Body = int64(len(text)), io.NopCloser(bytes.NewReader(text))
	return nil
}

// page copies HTML and changes the tags alone that have links.
func (l links) page(r io.Reader) ([]byte, error) {
	var out bytes.Buffer
	in := html.NewTokenizer(r)
	for {
		kind := in.Next()
		if kind == html.ErrorToken {
			if err := in.Err(); err != io.EOF {
				return nil, err
			}
			return out.Bytes(), nil
		}
		raw := bytes.Clone(in.Raw())
		if kind == html.StartTagToken || kind == html.SelfClosingTagToken {
			tag, changed := in.Token(), false
			for i, a := range tag.Attr {
				if urlAttributes[a.Key] {
					tag.Attr[i].Val = l.target(a.Val)
					changed = changed || tag.Attr[i].Val != a.Val
				}
			}
			if changed {
				raw = []byte(tag.String())
			}
		}
		out.Write(raw)
	}
}
