// Fails: this is not what was recorded.

import test from "node:test";

import { withServer } from "../node/replay.js";
import { cassette, withPage } from "./page.js";

test("another symbol", () =>
  withServer(cassette, (url) =>
    withPage(url, async (page) => {
      await page.getByRole("button", { name: "ETH" }).click();
      await page.getByText("failed").waitFor();
    }),
  ));
