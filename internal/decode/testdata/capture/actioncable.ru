# The server of actioncable.mjs: Action Cable on Puma.

require "action_cable"
require "puma"

class Connection < ActionCable::Connection::Base
end

class RoomChannel < ActionCable::Channel::Base
  def subscribed
    reject if params[:room] == "cellar"
    stream_from "room"
  end

  def say(data)
    ActionCable.server.broadcast("room", { text: data["text"], n: 1 })
  end
end

cable = ActionCable.server.config
cable.connection_class = -> { Connection }
cable.cable = { "adapter" => "async" }
cable.disable_request_forgery_protection = true
cable.logger = Logger.new(nil)

run ActionCable.server
