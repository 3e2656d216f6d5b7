package remote_test

import (
	"testing"

	"github.com/wstape/wstape/record"
	"github.com/wstape/wstape/record/storetest"
)

func TestRemoteIsAStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) record.Store {
		return serve(t, place(t), record.NewMemory())
	})
}
