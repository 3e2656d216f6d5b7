package remote_test

import (
	"path/filepath"
	"testing"

	"github.com/wstape/wstape/record"
	"github.com/wstape/wstape/record/storetest"
)

func TestRemoteIsAStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) record.Store {
		return serve(t, filepath.Join(t.TempDir(), "t.db"), record.NewMemory())
	})
}
