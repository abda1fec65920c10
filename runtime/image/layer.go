package image

import (
	"archive/tar"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Layer is files laid over the layers below. Folders that lead to a file are made (0755, root).
type Layer struct {
	// Root is a directory of this machine whose whole content becomes the image's "/", with modes,
	// owners, symbolic and hard links, without extended attributes. Empty: none.
	Root string
	// Files are added after Root and replace what it has, by path in the image: "/bin/server".
	Files map[string]File
}

// File is one file, folder or symbolic link of an image. Its content is From, Data or Link.
type File struct {
	From string // a file of this machine
	Data []byte
	Link string      // makes it a symbolic link to this path
	Mode fs.FileMode // 0: the mode of From, 0644 for Data; with fs.ModeDir it is a folder
	UID  int
	GID  int
}

// Program is a layer of one static program of this machine at the given path in the image.
func Program(in, from string) Layer {
	return Layer{Files: map[string]File{in: {From: from, Mode: 0o755}}}
}

// layerWriter remembers what the layer has, since a path must appear once.
type layerWriter struct {
	*tar.Writer
	seen  map[string]bool   // paths written, without the leading slash
	links map[uint64]string // inode to the path that was written first
}

func (l Layer) write(w io.Writer) error {
	out := layerWriter{tar.NewWriter(w), map[string]bool{}, map[uint64]string{}}
	own := map[string]File{}
	for name, f := range l.Files {
		own[clean(name)] = f
	}
	if l.Root != "" {
		if err := out.addTree(l.Root, own); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(own)) {
		if err := out.addParents(name, own); err != nil {
			return err
		}
		if err := out.addFile(name, own[name]); err != nil {
			return err
		}
	}
	return out.Close()
}

func clean(name string) string { return strings.TrimPrefix(path.Clean("/"+name), "/") }

// addTree adds all under root except the paths in own, in lexical order.
func (w *layerWriter) addTree(root string, own map[string]File) error {
	return filepath.WalkDir(root, func(at string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, at)
		if err != nil || name == "." {
			return err
		}
		if _, replaced := own[name]; replaced && !d.IsDir() {
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if info.Mode()&fs.ModeSocket != 0 {
			return nil // a socket means nothing in an image
		}
		return w.addFrom(name, at, info)
	})
}

// addFrom adds what is at a path of this machine, as it is.
func (w *layerWriter) addFrom(name, at string, info fs.FileInfo) error {
	link := ""
	if info.Mode()&fs.ModeSymlink != 0 {
		var err error
		if link, err = os.Readlink(at); err != nil {
			return err
		}
	}
	h, err := tar.FileInfoHeader(info, link)
	if err != nil {
		return err
	}
	h.Name, h.Uname, h.Gname = name, "", ""
	if info.IsDir() {
		h.Name += "/"
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && info.Mode().IsRegular() && st.Nlink > 1 {
		if first := w.links[st.Ino]; first != "" {
			h.Typeflag, h.Linkname, h.Size = tar.TypeLink, first, 0
		} else {
			w.links[st.Ino] = name
		}
	}
	return w.add(h, name, at)
}

// addParents adds the folders that lead to name, unless they are there.
func (w *layerWriter) addParents(name string, own map[string]File) error {
	for i, c := range name {
		dir := name[:i]
		if c != '/' || w.seen[dir] {
			continue
		}
		if f, ok := own[dir]; ok {
			if err := w.addFile(dir, f); err != nil {
				return err
			}
			continue
		}
		if err := w.add(&tar.Header{Name: dir + "/", Typeflag: tar.TypeDir, Mode: 0o755}, dir, ""); err != nil {
			return err
		}
	}
	return nil
}

func (w *layerWriter) addFile(name string, f File) error {
	if w.seen[name] && f.Mode&fs.ModeDir != 0 || name == "" {
		return nil
	}
	h := &tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: tarMode(f.Mode), Uid: f.UID, Gid: f.GID}
	switch {
	case f.Mode&fs.ModeDir != 0:
		h.Name, h.Typeflag = name+"/", tar.TypeDir
	case f.Link != "":
		h.Typeflag, h.Linkname, h.Mode = tar.TypeSymlink, f.Link, 0o777
	case f.From != "":
		info, err := os.Stat(f.From)
		if err != nil {
			return err
		}
		if !info.Mode().IsRegular() {
			return fmt.Errorf("%s is not a regular file", f.From)
		}
		if h.Size = info.Size(); h.Mode == 0 {
			h.Mode = int64(info.Mode().Perm())
		}
	default:
		if h.Size = int64(len(f.Data)); h.Mode == 0 {
			h.Mode = 0o644
		}
	}
	if f.From != "" {
		return w.add(h, name, f.From)
	}
	if err := w.add(h, name, ""); err != nil {
		return err
	}
	if h.Typeflag != tar.TypeReg {
		return nil
	}
	_, err := w.Write(f.Data)
	return err
}

// tarMode keeps the bits a tar header has: permissions, setuid, setgid, sticky.
func tarMode(m fs.FileMode) int64 {
	bits := int64(m.Perm())
	for flag, bit := range map[fs.FileMode]int64{fs.ModeSetuid: 0o4000, fs.ModeSetgid: 0o2000, fs.ModeSticky: 0o1000} {
		if m&flag != 0 {
			bits |= bit
		}
	}
	return bits
}

// add writes the header and, for a regular file, the content of from when that is not empty.
func (w *layerWriter) add(h *tar.Header, name, from string) error {
	if w.seen[name] && h.Typeflag != tar.TypeDir {
		return nil
	}
	w.seen[name] = true
	h.ModTime, h.AccessTime, h.ChangeTime = time.Unix(0, 0), time.Time{}, time.Time{}
	if err := w.WriteHeader(h); err != nil {
		return err
	}
	if from == "" || h.Typeflag != tar.TypeReg {
		return nil
	}
	f, err := os.Open(from)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(w, f)
	return err
}
