package har

import (
	"archive/zip"
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
)

// Source is a .har file, or an archive of one with what it attaches.
type Source struct {
	io.ReaderAt
	Size   int64
	Beside fs.FS // where a .har finds what it attaches; nil for nowhere
}

// files is what a source holds: the HAR itself and what may be attached.
type files struct {
	ctx    context.Context
	src    Source
	zip    *zip.Reader // nil if the source is no archive
	main   *zip.File
	limits limits
	left   int64           // of the archive's limit
	taken  map[string]bool // files that an entry has attached
}

func openFiles(ctx context.Context, src Source, l limits) (*files, error) {
	f := &files{ctx: ctx, src: src, limits: l, left: l.archive, taken: map[string]bool{}}
	head := make([]byte, 4)
	if n, _ := src.ReadAt(head, 0); !isZip(head[:n]) {
		return f, nil
	}
	var err error
	if f.zip, err = zip.NewReader(src, src.Size); err != nil {
		return nil, fmt.Errorf("the archive cannot be read: %w", err)
	}
	for _, file := range f.zip.File {
		if path.Ext(file.Name) != ".har" {
			continue
		}
		if f.main != nil {
			return nil, fmt.Errorf("the archive holds more than one HAR file, %q and %q: unpack it and import each", f.main.Name, file.Name)
		}
		f.main = file
	}
	if f.main == nil {
		return nil, errors.New("there is no .har file in the archive")
	}
	return f, nil
}

// har opens the HAR file itself, from its beginning.
func (f *files) har() (io.ReadCloser, error) {
	var r io.ReadCloser = io.NopCloser(io.NewSectionReader(f.src, 0, f.src.Size))
	if f.zip != nil {
		var err error
		if r, err = f.unpack(f.main); err != nil {
			return nil, err
		}
	}
	in := bufio.NewReader(r)
	if head, _ := in.Peek(3); len(withoutBOM(head)) == 0 && len(head) > 0 {
		_, _ = in.Discard(len(head))
	}
	return readCloser{in, r}, nil
}

type readCloser struct {
	io.Reader
	io.Closer
}

// attached opens a file that an entry names.
func (f *files) attached(name string) (io.ReadCloser, error) {
	switch {
	case !fs.ValidPath(name) || strings.Contains(name, `\`):
		return nil, fmt.Errorf("%q is not the name of a file beside it", name)
	case f.taken[name]:
		return nil, fmt.Errorf("%q is attached to another entry already", name)
	}
	f.taken[name] = true
	switch {
	case f.zip != nil:
		for _, file := range f.zip.File {
			if path.Clean(file.Name) == path.Join(path.Dir(f.main.Name), name) {
				return f.unpack(file)
			}
		}
		return nil, fmt.Errorf("%q is not in the archive", name)
	case f.src.Beside == nil:
		return nil, fmt.Errorf("%q lies in a file of its own: give the HAR file by its path, or the archive that both are in", name)
	}
	r, err := f.src.Beside.Open(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%q is not beside the HAR file: put it there", name)
	case err != nil:
		return nil, err
	}
	return r, nil
}

// unpack opens a file of the archive. What the archive says of its size is only
// believed when it is too large already.
func (f *files) unpack(file *zip.File) (io.ReadCloser, error) {
	r, err := file.Open()
	if err != nil {
		return nil, fmt.Errorf("%q in the archive: %w", file.Name, err)
	}
	u := &unpacking{files: f, ReadCloser: r, name: file.Name, left: f.limits.file}
	if file.UncompressedSize64 > uint64(f.limits.file) {
		r.Close()
		return nil, u.tooLong(f.limits.file)
	}
	return u, nil
}

// unpacking bounds what comes out of an archive.
type unpacking struct {
	io.ReadCloser
	files *files
	name  string
	left  int64
}

func (u *unpacking) Read(p []byte) (int, error) {
	switch {
	case len(p) == 0:
		return 0, nil
	case u.left <= 0:
		return 0, u.tooLong(u.files.limits.file)
	case u.files.left <= 0:
		return 0, fmt.Errorf("the archive unpacks to more than %s: unpack it and import the .har file itself", size(u.files.limits.archive))
	}
	n, err := u.ReadCloser.Read(p[:min(int64(len(p)), u.left, u.files.left)])
	u.left -= int64(n)
	u.files.left -= int64(n)
	if err != nil && err != io.EOF {
		err = fmt.Errorf("%q in the archive: %w", u.name, err)
	}
	return n, err
}

func (u *unpacking) tooLong(limit int64) error {
	return fmt.Errorf("%q in the archive unpacks to more than %s: unpack it and import the .har file itself", u.name, size(limit))
}
