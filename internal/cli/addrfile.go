package cli

import (
	"context"
	"encoding/json"
	"io"
)

// addresses is what --addr-file holds.
type addresses struct {
	Listen string `json:"listen"`
	Admin  string `json:"admin,omitempty"`
}

// writeAddrFile tells where the listeners are, once they accept.
func writeAddrFile(ctx context.Context, path string, a addresses) error {
	return writeWhole(ctx, path, 0o644, func(w io.Writer) error { return json.NewEncoder(w).Encode(a) })
}
