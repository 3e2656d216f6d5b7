import assert from "node:assert/strict";
import test from "node:test";

import { withServer } from "../node/replay.js";
import { cassette, withPage } from "./page.js";

test("the page shows the recorded prices", () =>
  withServer(cassette, (url) =>
    withPage(url, async (page) => {
      await page.getByRole("button", { name: "BTC" }).click();
      await page.getByText("done").waitFor();
      const shown = await page.getByRole("listitem").allTextContents();
      assert.deepEqual(shown, ["48764.36", "37168.4", "45008.23", "45459.16", "36812.51"]);
    }),
  ));
