package backup

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// Bucket is a shelf in a bucket of Amazon S3 or a service that speaks as it does. Four requests are all that it takes, so
// only the signer of Amazon's library is linked: 0.1 MB of binary, where the whole client takes 6. A backup is one request: at most 5 GiB.
type Bucket struct {
	base   *url.URL // of the bucket
	bucket string
	prefix string // before each name, with a slash at its end unless it is empty
	region string
	keys   aws.Credentials
	http   *http.Client
}

// NewBucket is a shelf at "s3://bucket/prefix". Keys come from the environment: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and
// perhaps AWS_SESSION_TOKEN; so do endpoint and region where they are "": AWS_ENDPOINT_URL, AWS_REGION.
func NewBucket(where, endpoint, region string) (*Bucket, error) {
	bucket, prefix, _ := strings.Cut(strings.TrimPrefix(where, "s3://"), "/")
	if bucket == "" {
		return nil, fmt.Errorf("%s: want s3://bucket or s3://bucket/prefix", where)
	}
	if prefix = strings.Trim(prefix, "/"); prefix != "" {
		prefix += "/"
	}
	b := &Bucket{bucket: bucket, prefix: prefix, http: &http.Client{}, region: first(region, os.Getenv("AWS_REGION"), "us-east-1"),
		keys: aws.Credentials{AccessKeyID: os.Getenv("AWS_ACCESS_KEY_ID"), SecretAccessKey: os.Getenv("AWS_SECRET_ACCESS_KEY"), SessionToken: os.Getenv("AWS_SESSION_TOKEN")}}
	if b.keys.AccessKeyID == "" || b.keys.SecretAccessKey == "" {
		return nil, fmt.Errorf("%s: no keys: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment (of the server's process, for backups by schedule)", where)
	}
	base, err := url.Parse(first(endpoint, os.Getenv("AWS_ENDPOINT_URL"), "https://s3."+b.region+".amazonaws.com"))
	if err != nil || base.Host == "" {
		return nil, fmt.Errorf("S3 endpoint %q: want a URL, such as https://s3.example.com", endpoint)
	}
	b.base = base.JoinPath(bucket)
	return b, nil
}

func first(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

// do signs and sends a request; an answer of 300 or more is an error.
func (b *Bucket) do(ctx context.Context, method, name string, query url.Values, body io.Reader, size int64, sum string) (*http.Response, error) {
	u := *b.base
	if name != "" {
		u = *b.base.JoinPath(name)
	}
	u.RawQuery = query.Encode()
	req, err := http.NewRequestWithContext(ctx, method, u.String(), body)
	if err != nil {
		return nil, err
	}
	req.ContentLength = size
	req.Header.Set("X-Amz-Content-Sha256", sum)
	sign := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true }) // as S3 wants it
	if err := sign.SignHTTP(ctx, b.keys, req, sum, "s3", b.region, time.Now()); err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	resp, err := b.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("s3 %s %s: %w", method, u.Path, err)
	}
	if resp.StatusCode >= 300 {
		defer resp.Body.Close()
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10)) // what is there of an error's text
		var e struct{ Code, Message string }
		if xml.Unmarshal(text, &e) != nil || e.Code == "" {
			e.Code = resp.Status
		}
		err := fmt.Errorf("s3 %s %s: %s %s", method, u.Path, e.Code, e.Message)
		if resp.StatusCode == http.StatusNotFound {
			err = errors.Join(err, os.ErrNotExist)
		}
		return nil, err
	}
	return resp, nil
}

var nothing = func() string { sum := sha256.Sum256(nil); return hex.EncodeToString(sum[:]) }()

// Put implements Shelf: the service checks the content against its hash and shows the object whole or not at all.
func (b *Bucket) Put(ctx context.Context, name string, from *os.File) error {
	if _, err := from.Seek(0, io.SeekStart); err != nil {
		return err
	}
	h := sha256.New()
	size, err := io.Copy(h, from)
	if err != nil {
		return err
	}
	if _, err := from.Seek(0, io.SeekStart); err != nil {
		return err
	}
	resp, err := b.do(ctx, http.MethodPut, b.prefix+name, nil, io.NopCloser(from), size, hex.EncodeToString(h.Sum(nil)))
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// Get implements Shelf.
func (b *Bucket) Get(ctx context.Context, name string) (io.ReadCloser, error) {
	resp, err := b.do(ctx, http.MethodGet, b.prefix+name, nil, nil, 0, nothing)
	if err != nil {
		return nil, err
	}
	return resp.Body, nil
}

// List implements Shelf.
func (b *Bucket) List(ctx context.Context) ([]Stored, error) {
	var out []Stored
	for token := ""; ; {
		q := url.Values{"list-type": {"2"}, "prefix": {b.prefix}, "delimiter": {"/"}}
		if token != "" {
			q.Set("continuation-token", token)
		}
		resp, err := b.do(ctx, http.MethodGet, "", q, nil, 0, nothing)
		if err != nil {
			return nil, err
		}
		var page struct {
			Contents []struct {
				Key          string
				Size         int64
				LastModified time.Time
			}
			NextContinuationToken string
		}
		err = xml.NewDecoder(resp.Body).Decode(&page)
		if err = errors.Join(err, resp.Body.Close()); err != nil {
			return nil, fmt.Errorf("s3 list %s: %w", b.base, err)
		}
		for _, c := range page.Contents {
			if strings.HasSuffix(c.Key, Suffix) {
				out = append(out, Stored{path.Base(c.Key), c.Size, c.LastModified})
			}
		}
		if token = page.NextContinuationToken; token == "" {
			return out, nil
		}
	}
}

// Remove implements Shelf.
func (b *Bucket) Remove(ctx context.Context, name string) error {
	resp, err := b.do(ctx, http.MethodDelete, b.prefix+name, nil, nil, 0, nothing)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// Where implements Shelf.
func (b *Bucket) Where(name string) string { return "s3://" + b.bucket + "/" + b.prefix + name }
