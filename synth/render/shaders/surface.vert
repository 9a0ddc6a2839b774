uniform mat4 clip_from_part;
uniform mat4 world_from_part;
uniform mat3 normal_from_part;
uniform vec4 above_ground;   // plane in the part's frame: what lies below is not drawn

in vec3 in_position;
in vec3 in_normal;
in vec2 in_uv;
in vec4 in_color;

out vec3 normal;
out vec2 uv;
#ifdef COLORED
out vec3 vertex_color;
#endif
#ifdef BUMPY
out vec3 position;
#endif

void main() {
    gl_Position = clip_from_part * vec4(in_position, 1.0);
    gl_ClipDistance[0] = dot(above_ground, vec4(in_position, 1.0));
    normal = normal_from_part * in_normal;
    uv = vec2(in_uv.x, 1.0 - in_uv.y);
#ifdef COLORED
    vertex_color = in_color.rgb;
#endif
#ifdef BUMPY
    position = (world_from_part * vec4(in_position, 1.0)).xyz;
#endif
}
