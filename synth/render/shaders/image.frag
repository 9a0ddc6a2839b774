// The background of every pixel, and before it what the objects' multisampled picture covers.
uniform sampler2D base_texture;
uniform vec2 image_size;
uniform float mirror;        // -1: the surface is mirrored
uniform float roughness;
#ifdef OBJECTS
uniform sampler2DMS objects;
#endif

out vec4 color;

void main() {
    vec3 ray = (ray_from_pixel * vec4(gl_FragCoord.xy, 1.0, 0.0)).xyz;
#ifdef LIT
    float reach = wall_distance * inversesqrt(dot(ray, ray));
    vec3 position = eye + ray * min(reach, -eye.z / min(ray.z, -1e-9));
#endif
#if defined(PHOTO)
    vec3 base = texelFetch(base_texture, ivec2(gl_FragCoord.xy), 0).rgb;
#elif defined(LIT)
    vec3 base = texture(base_texture, vec2(mirror * position.x, -position.y - position.z) / tile).rgb;
#else
    vec3 base = texture(base_texture, vec2(mirror, 1.0) * gl_FragCoord.xy / image_size).rgb;
#endif
    base = decoded(base);
#ifdef LIT
    base = lit(position, vec3(0.0, 0.0, 1.0), base, roughness, 0.0);
#endif
    color = vec4(encoded(base), 1.0);
#ifdef OBJECTS
    ivec2 at = ivec2(gl_FragCoord.xy);
    vec4 before = vec4(0.0);
    for (int i = 0; i < SAMPLES; i++) {
        before += texelFetch(objects, at, i) / float(SAMPLES);
    }
    color = vec4(before.rgb + (1.0 - before.a) * color.rgb, 1.0);
#endif
}
