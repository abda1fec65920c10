package runtime

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	goruntime "runtime"
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/metadata"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/lighter-k8s/lighter/runtime/image"
)

// reconnect tries a socket that is not there often: a restart of containerd takes 0.1 s.
var reconnect = grpc.ConnectParams{
	Backoff:           backoff.Config{BaseDelay: 10 * time.Millisecond, Multiplier: 1.5, MaxDelay: time.Second},
	MinConnectTimeout: time.Second,
}

// ImportImage loads the images of a docker-archive or OCI archive (a tar, plain or compressed with
// gzip or zstd) into the containerd at socket, so that pods can name them, and returns their names
// in full: "docker.io/library/guestbook:1". An image with a mere tag becomes "localhost/import:<tag>",
// one with no name is left out. Of an image for several platforms this machine's is taken.
func ImportImage(ctx context.Context, socket string, r io.Reader) ([]string, error) {
	conn, err := Dial(socket)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return importImage(ctx, conn, r)
}

// Image is what ListImages tells of an image.
type Image struct {
	ID    string   // digest of its configuration: "sha256:..."
	Names []string // in full, with tags; sorted; empty when only a digest names it
	Size  uint64   // bytes, as stored
}

// ListImages lists the images at a CRI socket, by name.
func ListImages(ctx context.Context, socket string) ([]Image, error) {
	conn, err := Dial(socket)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	list, err := cri.NewImageServiceClient(conn).ListImages(ctx, &cri.ListImagesRequest{})
	if err != nil {
		return nil, fmt.Errorf("list images: %w", err)
	}
	var images []Image
	for _, i := range list.Images {
		slices.Sort(i.RepoTags)
		images = append(images, Image{ID: i.Id, Names: i.RepoTags, Size: i.Size})
	}
	slices.SortFunc(images, func(a, b Image) int { return slices.Compare(a.Names, b.Names) })
	return images, nil
}

// sandboxImage is the name of the image that holds this pause program; another program, another name.
func sandboxImage(pause string) (string, error) {
	if pause == "" {
		return "lighter.local/pause:1", nil // someone has to load it
	}
	program, err := os.ReadFile(pause)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(program)
	return "lighter.local/pause:" + hex.EncodeToString(sum[:6]), nil
}

// ensureSandboxImage loads the sandbox image unless it is there.
func (c *Containerd) ensureSandboxImage(ctx context.Context, conn *grpc.ClientConn) error {
	name := c.settings.SandboxImage
	if there, err := hasImage(ctx, conn, name); err != nil || there {
		return err
	}
	if c.programs.Pause == "" {
		return fmt.Errorf("no program for the sandbox image %s: this lighter carries none and there is no pause on PATH", name)
	}
	r, w := io.Pipe()
	go func() {
		w.CloseWithError(image.Write(w, image.Spec{
			Names: []string{name}, Entrypoint: []string{"/pause"}, User: "65535:65535",
			Layers: []image.Layer{image.Program("/pause", c.programs.Pause)},
		}))
	}()
	_, err := importImage(ctx, conn, r)
	r.CloseWithError(io.ErrClosedPipe) // ends the writer if the import stopped early
	if err != nil {
		return fmt.Errorf("load the sandbox image: %w", err)
	}
	return nil
}

func hasImage(ctx context.Context, conn *grpc.ClientConn, name string) (bool, error) {
	status, err := cri.NewImageServiceClient(conn).ImageStatus(ctx,
		&cri.ImageStatusRequest{Image: &cri.ImageSpec{Image: name}})
	if err != nil {
		return false, fmt.Errorf("status of image %s: %w", name, err)
	}
	return status.Image != nil, nil
}

// importImage has containerd's transfer service read the archive from a stream. The unpacked
// layers, the label that CRI puts on its images and the id by which it knows them are its work.
func importImage(ctx context.Context, conn *grpc.ClientConn, r io.Reader) (names []string, err error) {
	ctx, cancel := context.WithCancelCause(metadata.AppendToOutgoingContext(ctx, "containerd-namespace", "k8s.io"))
	defer cancel(nil)
	id := rand.Text()
	ctx, release, err := lease(ctx, conn, "import-"+id)
	if err != nil {
		return nil, fmt.Errorf("import image: %w", err)
	}
	defer release()
	archive, err := openStream(ctx, conn, "import-"+id)
	if err != nil {
		return nil, fmt.Errorf("import image: %w", err)
	}
	progress, err := openStream(ctx, conn, "progress-"+id)
	if err != nil {
		return nil, fmt.Errorf("import image: %w", err)
	}
	sent := make(chan error, 1)
	go func() {
		err := archive.send(r)
		if err != nil {
			cancel(fmt.Errorf("read archive: %w", err))
		}
		sent <- err
	}()
	saved := make(chan []string, 1)
	go func() { saved <- progress.saved() }()

	err = transfer(ctx, conn, "progress-"+id, importStream("import-"+id), imageStore(goruntime.GOARCH))
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause // the archive could not be read, or the caller has given up
		}
		cancel(err) // ends both streams; a Read that does not return is the caller's
		return nil, fmt.Errorf("import image: %w", err)
	}
	names = <-saved
	if len(names) == 0 {
		return nil, errors.New("import image: the archive names no image for linux/" + goruntime.GOARCH)
	}
	return names, waitForImages(ctx, conn, names)
}

// waitForImages waits until CRI, which hears of new images by events, knows them all.
func waitForImages(ctx context.Context, conn *grpc.ClientConn, names []string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, 10*time.Second, errors.New("CRI does not list it"))
	defer cancel()
	for _, name := range names {
		for {
			there, err := hasImage(ctx, conn, name)
			if there {
				break
			}
			if err != nil && ctx.Err() == nil {
				return err
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("import image %s: %w", name, context.Cause(ctx))
			case <-time.After(5 * time.Millisecond):
			}
		}
	}
	return nil
}
